"""`python -m repic_cli` is `repic`."""

from repic_cli.app import main

if __name__ == "__main__":
    main()
