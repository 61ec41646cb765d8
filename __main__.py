"""``python -m quotacast``."""

from quotacast.cli import main

if __name__ == "__main__":
    main()
