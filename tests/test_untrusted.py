import pytest
from untrusted_names import CONTROLS, NASTY

from reconv.untrusted import as_cell, as_label, as_plotted, from_cell, printable, printable_lines, without_links


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.png", "a\\nb.png"),
        ("\x1b[31mred.png", "\\x1b[31mred.png"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("one\u200btwo", "one\\u200btwo"),
        ("\udcff", "\\udcff"),
        ("grün 🙂.png", "grün 🙂.png"),
    ],
)
def test_a_name_is_one_line_without_control_characters(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_lines_of_a_message_stay_lines() -> None:
    assert printable_lines("first\n\tsecond\r\x1b[2J\n") == "first\n\tsecond\\r\\x1b[2J\n"
    assert not any(control in printable_lines(NASTY) for control in CONTROLS)


@pytest.mark.parametrize("formula", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "'=1", "''@x"])
def test_a_cell_is_no_formula_and_comes_back(formula: str) -> None:
    assert as_cell(formula) == f"'{formula}"
    assert from_cell(as_cell(formula)) == formula


@pytest.mark.parametrize("text", ["", "cat", "-5", "+1.5e-3", "-.5", "3", "a=b", "'quoted'", "'", "T-shirt/top"])
def test_numbers_and_ordinary_names_stay_as_they_are(text: str) -> None:
    assert as_cell(text) == from_cell(text) == text


def test_a_label_has_no_tags_and_a_plotted_name_ends_no_script() -> None:
    assert as_label("<b>a</b> & \x1b") == "&lt;b&gt;a&lt;/b&gt; &amp; \\x1b"
    assert "</script" not in as_plotted("</script><script>alert(1)</script>")


def test_markdown_has_no_links_pictures_or_html() -> None:
    text = without_links("**bold** [+1.0, +2.0] ![x](http://x.test) <img src=x>")

    assert text == "**bold** [+1.0, +2.0] ![x]\\(http://x.test) &lt;img src=x>"
