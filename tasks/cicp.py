"""Colour spaces that a file names by number (CICP, ITU-T H.273) and the ICC profiles that say the same.

Phones and browsers write PNG, AVIF and HEIC whose colours are Display P3 or BT.2020, and HDR as PQ or HLG, without any profile.
Their numbers are made into a profile here, so that the rest of the engine needs no second way to convert colours. What a reader would
get wrong: HDR does not fit into a thumbnail of 8 bits. It is mapped as browsers do it for screens without HDR: 203 cd/m2, the
white of paper and of user interfaces (ITU-R BT.2408), stays below white, what is brighter is compressed up to 1000 cd/m2.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from math import exp

Pair = tuple[float, float]
Rows = tuple[tuple[float, float, float], ...]

_D65, _C, _DCI, _E = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351), (1 / 3, 1 / 3)
_D50 = (0.9642, 1.0, 0.8249)  # the white of every ICC profile (ICC.1:2010, 7.2.16)
# H.273, table 2: red, green, blue, white. 2 means that nobody knows, which for pictures means sRGB.
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65)
_BT601 = ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65)
_PRIMARIES: dict[int, tuple[Pair, Pair, Pair, Pair]] = {
    1: _BT709,
    2: _BT709,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: _BT601,
    7: _BT601,
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
_WHITE, _BRIGHTEST = 203.0, 1000.0  # cd/m2
_CURVE_POINTS = 4096
# Bradford's cone responses, which ICC asks for (ICC.1:2010, annex E).
_BRADFORD: Rows = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))


def _srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _perceptual_quantiser(value: float) -> float:
    power = value ** (1 / 78.84375)
    light = (max(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return _mapped(10_000 * light)


def _hybrid_log_gamma(value: float) -> float:
    scene = value**2 / 3 if value <= 0.5 else (exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return _mapped(_BRIGHTEST * scene**1.2)


def _mapped(nits: float) -> float:
    """Reinhard's curve with a white point, 0 to 1."""
    light, white = nits / _WHITE, _BRIGHTEST / _WHITE
    return min(1.0, light * (1 + light / white**2) / (1 + light))


# H.273, table 3. Video's curves are taken for sRGB's, as browsers take them: pictures that say so were made on such screens.
_CURVES: dict[int, Callable[[float], float]] = {
    **dict.fromkeys((1, 2, 6, 7, 11, 12, 13, 14, 15), _srgb),
    4: lambda value: value**2.2,
    5: lambda value: value**2.8,
    8: lambda value: value,
    16: _perceptual_quantiser,
    17: lambda value: value**2.6 * 52.37 / 48,
    18: _hybrid_log_gamma,
}


@lru_cache(maxsize=8)
def profile_for(primaries: int, transfer: int) -> bytes | None:
    """An ICC profile of the colour space with those numbers; None when it is sRGB, or none that is known here."""
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    corners, curve = _PRIMARIES[primaries], _CURVES[transfer]
    if corners == _BT709 and curve is _srgb:
        return None
    columns = tuple(zip(*_to_d50(corners), strict=True))
    steps = (curve(step / (_CURVE_POINTS - 1)) for step in range(_CURVE_POINTS))
    samples = struct.pack(f">{_CURVE_POINTS}H", *(round(65535 * min(1.0, light)) for light in steps))
    response = b"curv" + bytes(4) + struct.pack(">I", _CURVE_POINTS) + samples
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"CICP\0" + bytes(79), b"wtpt": _xyz(_D50)}
    for name, column in zip((b"r", b"g", b"b"), columns, strict=True):
        tags[name + b"XYZ"], tags[name + b"TRC"] = _xyz(column), response
    return _profile(tags)


def _to_d50(corners: tuple[Pair, Pair, Pair, Pair]) -> Rows:
    """The matrix from linear RGB to XYZ under D50 (SMPTE RP 177, then Bradford's adaptation)."""
    red, green, blue, white = (_from_xy(pair) for pair in corners)
    shape: Rows = tuple(zip(red, green, blue, strict=True))
    amounts = _times(_inverse(shape), white)
    scaled: Rows = tuple(tuple(value * amount for value, amount in zip(row, amounts, strict=True)) for row in shape)  # type: ignore[misc]
    here, there = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    gains: Rows = tuple(
        tuple(there[n] / here[n] * value for value in row)  # type: ignore[misc]
        for n, row in enumerate(_BRADFORD)
    )
    return _product(_product(_inverse(_BRADFORD), gains), scaled)


def _from_xy(pair: Pair) -> tuple[float, float, float]:
    x, y = pair
    return x / y, 1.0, (1 - x - y) / y


def _times(rows: Rows, column: tuple[float, float, float]) -> tuple[float, float, float]:
    first, second, third = (sum(a * b for a, b in zip(row, column, strict=True)) for row in rows)
    return first, second, third


def _product(left: Rows, right: Rows) -> Rows:
    columns = [_times(left, column) for column in zip(*right, strict=True)]
    return tuple(zip(*columns, strict=True))


def _inverse(rows: Rows) -> Rows:
    (a, b, c), (d, e, f), (g, h, i) = rows
    scale = 1 / (a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))
    found = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return tuple((x * scale, y * scale, z * scale) for x, y, z in found)


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(tags: dict[bytes, bytes]) -> bytes:
    """A display profile of version 2 (ICC.1:2001-04); equal tags share their place."""
    at = 128 + 4 + 12 * len(tags)
    table, bodies, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for name, body in tags.items():
        if body not in places:
            places[body] = at + len(bodies)
            bodies += body.ljust(-(-len(body) // 4) * 4, b"\0")
        table += name + struct.pack(">II", places[body], len(body))
    size_bytes = 128 + len(table) + len(bodies)
    head = struct.pack(">I4xI4s4s4s", size_bytes, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return (head + struct.pack(">3i", *(round(value * 65536) for value in _D50))).ljust(128, b"\0") + table + bodies
