"""Everything that speaks to the daemon by wire only, in reading order.

feed.py         rt-feed: source.py (where frames come from), pacing.py (when), sender.py (how)
view.py         rt-view: connection.py and receiver.py (what comes in), client.py (what is asked)
web.py          the live page: viewer.html, page_data.py (what it is told), memory.py (drawing on a held picture)
headless.py     the stream into a video or a picture
window.py       the stream in a native window
demo.py         make demo: daemon, feed and viewer together
"""
