"""`kubectl forebay profile LOG`: what a log's requests would have cost all-cloud, all-local, local-first.

log_lines        bytes of a file or pipe, whatever packs them -> lines
formats          a line -> an Entry, by the format that the first lines show; formats_text for what is not JSON
reading          all lines -> a Log: columns of numbers; the words are looked at and forgotten
slot_assignment  arrivals -> which slot each takes: every size of the pool from one pass
confidence       how far the share may be off: blocks of time, and the classifier's known errors
answer           all of it together, as plain values
show, html       the answer for a terminal, and as a page
"""
