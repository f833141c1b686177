"""What Linimo needs of a machine and its NICs: seen (system, login), judged (findings), set up and put back (setup).

What is judged is what `host` reads below a folder, so that tests make machines up that are not there."""
