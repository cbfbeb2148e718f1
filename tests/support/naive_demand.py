"""Demand worked out in plain Python: what the projection's SQL must come to."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

Told = tuple[str, Decimal, date, str]
"""A SKU, so much of it, the order date and the period."""


def days_of(day: date, period: str) -> list[date]:
    """Return the days of the period that a day is in."""
    if period == "day":
        return [day]
    if period == "week":
        monday = day - timedelta(days=day.isocalendar().weekday - 1)
        return [monday + timedelta(days=n) for n in range(7)]
    first = date(day.year, day.month, 1)
    return [each for n in range(31) if (each := first + timedelta(days=n)).month == first.month]


def spread(quantity: Decimal, days: int, scale: int) -> list[Decimal]:
    """Return a quantity in as many parts as even as the scale lets them be, larger ones first."""
    left = int(quantity.scaleb(scale))
    parts: list[Decimal] = []
    for remaining in range(days, 0, -1):
        # What is left, shared by those that remain, rounded up.
        part = -(-left // remaining)
        parts.append(Decimal(part).scaleb(-scale))
        left -= part
    return parts


def demand_by_day(lines: Iterable[Told], scales: dict[str, int]) -> dict[tuple[str, date], Decimal]:
    """Return what was wanted of each SKU on each day, where it is not zero."""
    periods: dict[tuple[str, date, int], Decimal] = defaultdict(Decimal)
    for sku, quantity, day, period in lines:
        days = days_of(day, period)
        periods[sku, days[0], len(days)] += quantity
    found: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for (sku, first, days), quantity in periods.items():
        for n, part in enumerate(spread(quantity, days, scales[sku])):
            found[sku, first + timedelta(days=n)] += part
    return {key: quantity for key, quantity in found.items() if quantity}


def grouped(
    by_day: dict[tuple[str, date], Decimal], first: date, last: date, group_by: str
) -> dict[tuple[str, date], Decimal]:
    """Return demand by day, week or month, of the days from one to another."""
    found: dict[tuple[str, date], Decimal] = defaultdict(Decimal)
    for (sku, day), quantity in by_day.items():
        if first <= day <= last:
            found[sku, days_of(day, group_by)[0]] += quantity
    return dict(found)
