"""`python -m requant.integration.cli` is `requant`, for where the script is not on the path."""

from requant.integration.cli.app import main

if __name__ == "__main__":
    main()
