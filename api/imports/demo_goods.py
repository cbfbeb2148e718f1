"""What the made-up shop of `stockledger demo` deals in, where, and from whom."""

from decimal import Decimal
from typing import Final, NamedTuple

from schemas.customer import RegisterCustomer
from schemas.location import OpenLocation
from schemas.supplier import RegisterSupplier

HUB: Final = "LONDON"
COUNTER: Final = "SHOP"


class Goods(NamedTuple):
    """An article: what it is, what it costs, how much it sells a day, and when it sells most.

    ``peak_day`` is the day of the year around which it sells ``1 + swing`` times as much.
    """

    sku: str
    name: str
    price: str
    cost: str
    daily: float
    peak_day: int
    swing: float
    supplier: str


GOODS: Final = (
    Goods("TEA-EARL-250", "Earl Grey leaf tea, 250 g", "6.50", "2.90", 2.2, 15, 0.4, "HILL"),
    Goods("TEA-MINT-100", "Peppermint tea, 100 g", "3.95", "1.40", 1.8, 20, 0.3, "HILL"),
    Goods("TEA-ICED-500", "Iced tea blend, 500 g", "9.20", "4.10", 1.2, 195, 0.9, "HILL"),
    Goods("COF-HOUSE-1K", "House coffee, 1 kg", "19.50", "10.20", 1.6, 20, 0.2, "HILL"),
    Goods("COF-DECAF-500", "Decaffeinated coffee, 500 g", "11.00", "6.10", 0.7, 20, 0.1, "HILL"),
    Goods("HON-HEATH-340", "Heather honey, 340 g", "7.80", "3.60", 1.1, 340, 0.5, "HILL"),
    Goods("JAM-DAMSON", "Damson jam", "4.60", "1.85", 1.0, 300, 0.4, "HILL"),
    Goods("MARM-SEVILLE", "Seville marmalade", "4.80", "1.90", 1.0, 45, 0.6, "HILL"),
    Goods("CHOC-ADVENT", "Advent calendar, chocolate", "14.00", "6.30", 0.8, 325, 0.98, "HILL"),
    Goods("CHOC-DARK-90", "Dark chocolate, 90 g", "3.40", "1.30", 2.5, 350, 0.6, "HILL"),
    Goods("OIL-OLIVE", "Olive oil from the barrel", "14.20", "8.75", 1.0, 190, 0.2, "OLIV"),
    Goods("WINE-RED-75", "Red wine, 75 cl", "11.90", "6.20", 2.0, 350, 0.6, "OLIV"),
    Goods("CUP-BLUE", "Enamel cup, blue", "5.25", "1.95", 1.3, 180, 0.4, "KILN"),
    Goods("CUP-RED", "Enamel cup, red", "5.25", "1.95", 1.3, 340, 0.5, "KILN"),
    Goods("POT-STEEL-12", "Steel teapot, 1.2 l", "32.00", "15.50", 0.5, 340, 0.5, "KILN"),
    Goods("BOWL-STONE", "Stoneware bowl", "12.50", "4.90", 0.9, 330, 0.3, "KILN"),
    Goods("VASE-TALL", "Tall vase", "27.00", "11.00", 0.4, 120, 0.5, "KILN"),
    Goods("BRD-OAK", "Oak serving board", "18.00", "8.00", 0.7, 340, 0.6, "KILN"),
    Goods("TWL-LIN-NAT", "Linen towel, natural", "9.40", "4.20", 1.1, 150, 0.2, "WEFT"),
    Goods("TWL-LIN-GRY", "Linen towel, grey", "9.40", "4.20", 1.0, 150, 0.2, "WEFT"),
    Goods("BLK-WOOL", "Wool blanket", "64.00", "31.00", 0.5, 345, 0.9, "WEFT"),
    Goods("RUG-PICNIC", "Picnic rug", "38.00", "17.50", 0.5, 185, 0.95, "WEFT"),
    Goods("APRON-BLUE", "Apron, blue stripe", "21.00", "9.10", 0.6, 335, 0.4, "WEFT"),
    Goods("CNDL-BEES-6", "Beeswax candles, box of 6", "11.00", "4.40", 1.2, 340, 0.8, "WEFT"),
)
BY_LOT: Final = Goods(
    "CORD-ELDER-70", "Elderflower cordial, 70 cl", "6.90", "2.80", 3.0, 170, 0.5, "HILL"
)
BY_SERIAL: Final = Goods(
    "MACH-ESPRESSO", "Espresso machine", "449.00", "228.00", 0.1, 345, 0.4, "HILL"
)
TIER: Final = "Trade"
CUSTOMERS: Final = (
    RegisterCustomer(
        code="BISTRO",
        name="Bistro Verde",
        customer_type="b2b",
        email="kitchen@bistro-verde.example",
        price_tier_id=1,
    ),
    RegisterCustomer(
        code="HOTEL",
        name="Hotel Minster",
        customer_type="b2b",
        email="purchasing@hotel-minster.example",
        price_tier_id=1,
    ),
    RegisterCustomer(
        code="FARM", name="Dales Farm Shop", customer_type="wholesale", company="Dales Farm Ltd"
    ),
    RegisterCustomer(name="Ada Okafor", email="ada.okafor@mail.example"),
    RegisterCustomer(name="Tom Sutcliffe", email="tom.sutcliffe@mail.example"),
    RegisterCustomer(name="Mireille Laurent", email="mireille.laurent@mail.example"),
)
SUPPLIERS: Final = (
    RegisterSupplier(code="HILL", name="Hillside Provisions", lead_time_days=7),
    RegisterSupplier(code="OLIV", name="Olivar Imports", lead_time_days=14),
    RegisterSupplier(code="KILN", name="Kiln & Anvil Works", lead_time_days=21),
    RegisterSupplier(code="WEFT", name="Weft Linen Mill", lead_time_days=28),
)
PLACES: Final = (
    OpenLocation(
        code=HUB,
        name="London warehouse",
        city="London",
        country="GB",
        time_zone="Europe/London",
        is_default=True,
    ),
    OpenLocation(
        code="LEEDS", name="Leeds warehouse", city="Leeds", country="GB", time_zone="Europe/London"
    ),
    OpenLocation(
        code="RTM",
        name="Rotterdam depot",
        city="Rotterdam",
        country="NL",
        time_zone="Europe/Amsterdam",
    ),
    OpenLocation(
        code=COUNTER,
        name="Shop counter in York (may sell before it books in)",
        city="York",
        country="GB",
        time_zone="Europe/London",
        stock_limit=Decimal(-20),
    ),
)
SHARE: Final = {HUB: 1.0, "LEEDS": 0.6, "RTM": 0.5, COUNTER: 0.35}
IN_LITRES: Final = "OIL-OLIVE"
IN_CASES: Final = "WINE-RED-75"
