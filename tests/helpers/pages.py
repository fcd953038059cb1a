"""Readers of HTML pages."""

from html.parser import HTMLParser

EVIL = "<script>alert(1)<"


VOID = {"meta", "link", "img", "br", "hr", "line", "rect", "path", "polygon", "polyline"}


class Reader(HTMLParser):
    """Tags, attributes and text of a page; every tag that is opened must be closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def opened(browser, path, **settings):
    """A page without network, and what its console said."""
    page, said = browser.new_page(**settings), []
    page.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
    page.goto(path.resolve().as_uri())
    return page, said
