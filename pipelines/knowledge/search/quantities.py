"""Reads the quantities of a text: numbers with their units, alike in both languages."""

import re

# Spellings of a unit, the first of which names it; the unit of a count is what is counted.
SPELLINGS = tuple(
    line.split()
    for line in """
    bar bars бар барг barg
    mbar мбар
    psi psig psid
    pa па
    kpa кпа
    mpa мпа
    hpa гпа
    atm атм
    kgf/cm2 кгс/см2 кгс
    l л litre litres liter liters литр литра литров
    ml мл
    dl cl hl
    gal gallon gallons галлон галлонов
    l/min л/мин lpm литров/мин
    gpm
    cc ccm cm3 см3 куб
    cm2 см2
    mm2 мм2
    m2 м2
    m3 м3
    mm мм millimetre millimetres millimeter millimeters
    cm см
    m м metre metres meter meters метр метра метров
    km км
    um µm μm мкм micron microns микрон микрона
    in inch inches дюйм дюйма дюймов
    ft foot feet
    s с sec secs second seconds сек секунд секунды секунда
    ms мс
    min мин mins minute minutes минут минуты минута
    h ч hr hrs hour hours час часа часов
    d day days день дня дней сут суток
    week weeks неделя недели недель
    month months мес месяц месяца месяцев
    year years год года лет
    rpm об/мин об r/min 1/min мин-1
    hz гц
    khz кгц
    mhz мгц
    v в vdc vac volt volts вольт
    kv кв
    mv мв
    a а amp amps ampere amperes ампер
    ma ма
    w вт watt watts
    kw квт
    mw мвт
    hp лс
    kg кг kilogram kilograms
    g г
    mg мг
    t т ton tons tonne tonnes тонн тонны тонна
    lb lbs
    oz
    nm нм n·m н·м n*m n.m
    n н
    kn кн
    °c c degc °с с° градусов градус градуса degree degrees deg
    °f f degf
    k к
    % percent процент процента процентов
    ppm
    cst сст мм2/с mm2/s
    cp mpas
    ohm ohms ом ω
    kohm ком
    db дб dba
    mm/s мм/с
    m/s м/с
    cycles cycle цикл цикла циклов
    strokes stroke ход хода ходов
    turns turn revolutions revolution оборотов оборота
    times раз раза
    pcs pieces шт штук
    bit bits бит
    byte bytes kb mb gb
    dc ac
    x ×
    persons people человек
    """.strip().splitlines()
)
NAMES = {spelling: line[0] for line in SPELLINGS for spelling in line}
UNITS = frozenset(NAMES)
QUANTITY = re.compile(
    r"(?<![\w.,/-])(?P<number>[-+−]?\d+(?:[ \u00a0]\d{3})*(?:[.,]\d+)?)[ \u00a0]?-?"
    r"(?P<unit>[°%µμΩω]?(?:[^\W\d_]|[/·*²³°](?=[^\W\d_])|[23²³])*)"
)


def quantities(text: str) -> frozenset[str]:
    """Return the quantities of a text as `8 l`; a number without a unit is none."""
    found = (_read(match) for match in QUANTITY.finditer(text))
    return frozenset(f"{number} {unit}" for number, unit in found if unit)


def _read(match: re.Match[str]) -> tuple[str, str]:
    """Return a number and the name of its unit, empty where that is none."""
    number = re.sub(r"[ \u00a0]", "", match["number"]).replace(",", ".").replace("−", "-").lstrip("+")
    unit = match["unit"].lower().replace("²", "2").replace("³", "3")
    return number, NAMES.get(unit, "")
