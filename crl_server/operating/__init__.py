"""The running process: serving, telling how it fares, reminding of what ends."""
