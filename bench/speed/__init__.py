"""The parts of bench/train_speed.py: what is measured, on what, by whom, and how it is kept and shown."""
