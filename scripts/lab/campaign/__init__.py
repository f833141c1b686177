"""The fault campaign: two nodes behind BGP under load, and what happens to them in random order.

    sudo scripts/test campaign [--seed N] [--minutes M]
    sudo PYTHONPATH=scripts python3 -m lab.campaign --one-by-one interface-recreated
    sudo PYTHONPATH=scripts python3 -m lab.campaign --table FILE

The same seed, minutes and kinds of events give the same events at the same times."""
