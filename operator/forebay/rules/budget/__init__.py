"""A cap on what may be billed that holds when gateways, operators and nodes die. Whole numbers, no clock, no I/O.

The operator grants each gateway a lease on the money by compare-and-swap (`issuer`, over `ledger`); a gateway reserves
the worst case of a request in its account before it sends it, and settles it once (`account`, `book`), as its journal
remembers (`journal`). Three rules make the cap hold:

- ledger, at every write: what accounts hold, what closed ones spent and what is written off is at most the amount;
- gateway, at every send: what is spent and reserved is at most what it holds;
- a gateway never believes in more than the ledger granted, and journals what it returns before it says so.

So the sum of all bills is at most the amount, as long as no answer costs more than its worst case (docs/budgets.md).
"""
