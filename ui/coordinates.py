"""Which columns of a table are a place on the earth, and where its rows lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracin_core.reviews.projects import Project

_LATITUDE_NAMES = ("latitude", "lat")
_LONGITUDE_NAMES = ("longitude", "lon", "lng", "long")


@dataclass(frozen=True)
class CoordinateColumns:
    """Names of the columns that hold degrees."""

    longitude: str
    latitude: str

    def locate(self, fields: Mapping[str, Any] | None) -> tuple[float, float] | None:
        """Return (longitude, latitude) of a row in degrees, or None where it has no place."""
        longitude = (fields or {}).get(self.longitude)
        latitude = (fields or {}).get(self.latitude)
        if not isinstance(longitude, int | float) or not isinstance(latitude, int | float):
            return None
        if not (-180 <= longitude <= 360 and -90 <= latitude <= 90):
            return None
        return float(longitude), float(latitude)


def find_coordinates(project: Project) -> CoordinateColumns | None:
    """Return the columns with coordinates, by their usual names; None where there are none."""
    if project.kind != "table":
        return None
    names = [str(column.get("name", "")) for column in project.settings.get("columns", ())]
    longitude = _find(names, _LONGITUDE_NAMES)
    latitude = _find(names, _LATITUDE_NAMES)
    if longitude is None or latitude is None:
        return None
    return CoordinateColumns(longitude=longitude, latitude=latitude)


def _find(names: list[str], wanted: tuple[str, ...]) -> str | None:
    known = {name.strip().lower(): name for name in reversed(names)}
    return next((known[name] for name in wanted if name in known), None)
