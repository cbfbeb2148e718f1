"""The REST API of a WooCommerce multi-location plugin, ``mulopimfwc/v1`` (seed 004).

Its product or variation is one of our products, its location one of our locations: the location's
slug is our code of it. `items` reads what a client says of one product at one location, `sync`
hands it in and tells what became of it, `errors` words what went wrong as WordPress does.
"""
