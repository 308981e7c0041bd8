"""Which metadata of a file are kept, and in which formats."""

from pathlib import Path

import pytest
from helpers import is_one_sentence, textured
from PIL import Image, IptcImagePlugin
from PIL.TiffImagePlugin import IFDRational

from srgan.commands.cli import main
from srgan.pictures.formats import FORMATS, is_written, open_picture, read_metadata, save_picture
from srgan.pictures.metadata import EXIF_IFD, GPS_IFD, KEPT, KEPT_OF_EXIF, Metadata, in_jpeg

XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" exif:GPSLatitude="52,30.1N" photoshop:City="Berlin"
 photoshop:Credit="A. Smith">
<exif:GPSLongitude>13,22.5E</exif:GPSLongitude>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Evening</rdf:li></rdf:Alt></dc:title>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""

OF_PICTURE = {
    0x010E: "Two towers", 0x010F: "Canon", 0x0110: "EOS R5", 0x0131: "Firmware 1.8", 0x0132: "2024:05:01 12:00:00",
    0x013B: "A. Smith", 0x8298: "(c) A. Smith",
}  # fmt: skip
OF_EXIF = {
    0x829A: IFDRational(1, 250), 0x829D: IFDRational(28, 10), 0x8822: 3, 0x8827: 400, 0x8830: 2,
    0x9003: "2024:05:01 11:59:58", 0x9004: "2024:05:01 11:59:58",
    0x9010: "+02:00", 0x9011: "+02:00", 0x9012: "+02:00", 0x9290: "12", 0x9291: "34", 0x9292: "34",
    0x9201: IFDRational(7, 1), 0x9202: IFDRational(3, 1), 0x9203: IFDRational(5, 2), 0x9204: IFDRational(-1, 3),
    0x9205: IFDRational(2, 1), 0x9206: IFDRational(7, 2), 0x9207: 5, 0x9208: 4, 0x9209: 16, 0x920A: IFDRational(85, 1),
    0xA217: 2, 0xA402: 1, 0xA403: 1, 0xA404: IFDRational(1, 1), 0xA405: 85, 0xA406: 2, 0xA407: 1, 0xA408: 1, 0xA409: 2,
    0xA40A: 2, 0xA40C: 2,
    0xA432: (IFDRational(70, 1), IFDRational(200, 1), IFDRational(28, 10), IFDRational(28, 10)),
    0xA433: "Canon", 0xA434: "RF70-200mm F2.8",
}  # fmt: skip
GPS = {1: "N", 2: (IFDRational(52), IFDRational(30), IFDRational(0)), 3: "E", 4: (IFDRational(13),) * 3}
IPTC = (
    b"\x1c\x02\x05\x00\x05Title"
    + b"\x1c\x02\x19\x00\x03sea"
    + b"\x1c\x02\x19\x00\x03sky"
    + b"\x1c\x02\x5a\x00\x06Berlin"
)


def photo(path: Path) -> Path:
    """Writes a JPEG that lies on its side, with all metadata that a camera and a photo program write."""
    exif = Image.Exif()
    exif.update({**OF_PICTURE, 0x0112: 6, 0x013C: "studio-pc", 0x4746: 4})
    exif.get_ifd(EXIF_IFD).update({**OF_EXIF, 0x927C: b"maker's own", 0xA002: 9, 0xA003: 12, 0xA431: "0815"})
    exif.get_ifd(GPS_IFD).update(GPS)
    textured(0, 12, 9).save(path, exif=exif, xmp=XMP, extra=in_jpeg(IPTC), quality=95)
    return path


def plain(value: object) -> object:
    """Returns a value that can be compared: fractions become floats."""
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    return float(value) if isinstance(value, IFDRational) else value


def fields(exif: Image.Exif, ifd: int | None = None) -> dict[int, object]:
    found = exif if ifd is None else exif.get_ifd(ifd)
    return {tag: plain(value) for tag, value in dict(found).items() if tag not in (EXIF_IFD, GPS_IFD)}


def test_the_test_has_every_field_on_the_list() -> None:
    assert OF_PICTURE.keys() == KEPT and OF_EXIF.keys() == KEPT_OF_EXIF


def needs(ending: str) -> None:
    if not is_written(FORMATS[ending]):
        pytest.skip(f"{FORMATS[ending].package} is not installed")


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != "gif"])
def test_every_field_on_the_list_is_in_the_result_and_the_place_is_not(
    tmp_path: Path, model_folder: Path, ending: str
) -> None:
    needs(ending)
    source, result = photo(tmp_path / "in.jpg"), tmp_path / f"out.{ending}"
    assert main(["upscale", str(source), str(result), "--model", str(model_folder), "--device", "cpu"]) == 0
    with Image.open(result) as found:
        assert found.size == (36, 48)  # upright
        exif = found.getexif()
        of_picture = {tag: value for tag, value in fields(exif).items() if tag in {*OF_PICTURE, 0x0112, 0x013C, 0x4746}}
        assert of_picture.pop(0x0112, 1) == 1
        assert of_picture == OF_PICTURE
        assert fields(exif, EXIF_IFD) == {tag: plain(value) for tag, value in OF_EXIF.items()}
        assert not exif.get_ifd(GPS_IFD)
        assert not found.info.get("xmp") and not IptcImagePlugin.getiptcinfo(found)
    assert b"Berlin" not in result.read_bytes() and b"maker's own" not in result.read_bytes()


@pytest.mark.parametrize("ending", [ending for ending in FORMATS if ending != "gif"])
def test_the_place_and_all_the_rest_are_kept_on_request(tmp_path: Path, ending: str) -> None:
    needs(ending)
    source = photo(tmp_path / "in.jpg")
    picture, _ = open_picture(source)
    notes = save_picture(picture, tmp_path / f"out.{ending}", read_metadata(source, location=True, everything=True))
    found = read_metadata(tmp_path / f"out.{ending}", location=True, everything=True)
    if ending != "jxl":  # its package writes XMP and cannot read it
        assert found.xmp.strip() == XMP.strip()
    with Image.open(tmp_path / f"out.{ending}") as file:
        exif = file.getexif()
        assert fields(exif, GPS_IFD) == {tag: plain(value) for tag, value in GPS.items()}
        assert {**OF_PICTURE, 0x013C: "studio-pc", 0x4746: 4}.items() <= fields(exif).items()
        assert fields(exif, EXIF_IFD) == {**{tag: plain(value) for tag, value in OF_EXIF.items()}, 0xA431: "0815"}
    if ending in ("jpg", "tiff"):
        assert found.iptc == IPTC and notes == []
    else:
        assert len(notes) == 1 and "IPTC" in notes[0] and is_one_sentence(notes[0])


def test_without_the_place_nothing_of_it_is_left_in_xmp_and_iptc(tmp_path: Path) -> None:
    found = read_metadata(photo(tmp_path / "in.jpg"), everything=True)
    assert b"GPS" not in found.xmp and b"Berlin" not in found.xmp and b"13,22" not in found.xmp
    assert b"Evening" in found.xmp and b'photoshop:Credit="A. Smith"' in found.xmp
    assert found.iptc == IPTC[: IPTC.index(b"\x1c\x02\x5a")]


def test_a_picture_without_metadata_gets_none(tmp_path: Path) -> None:
    textured(0, 12, 9).save(tmp_path / "in.png")
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("in.png", "text.jpg", "missing.jpg"):
        assert read_metadata(tmp_path / name, location=True, everything=True) == Metadata()


def test_damaged_fields_are_left_out_and_the_others_kept(tmp_path: Path) -> None:
    data = photo(tmp_path / "in.jpg").read_bytes()
    at = data.index(b"2024:05:01 11:59:58")
    (tmp_path / "in.jpg").write_bytes(data[:at] + b"\xff" * 19 + data[at + 19 :])
    picture, _ = open_picture(tmp_path / "in.jpg")
    save_picture(picture, tmp_path / "out.jpg", read_metadata(tmp_path / "in.jpg", everything=True))
    assert Image.open(tmp_path / "out.jpg").getexif()[0x0110] == "EOS R5"


def test_the_page_gives_nothing_of_it_away(tmp_path: Path) -> None:
    picture, _ = open_picture(photo(tmp_path / "in.jpg"))
    assert "exif" not in picture.info and not picture.getexif()
