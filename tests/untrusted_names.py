"""A name that any folder, file or class may have, and that every place where it is shown has to bear."""

NASTY = '=HYPERLINK("http://x.test","y")\x1b]0;owned\x07\x9b31m\n[fetch]    done\u202egnp <b>bold</b>&lt;</script>[a](http://x.test)'
CONTROLS = ("\x1b", "\x07", "\x9b", "\u202e")
