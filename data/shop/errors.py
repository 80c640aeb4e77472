"""The two ways in which a shop's input can be wrong: its declaration, or one of its files."""


class ShopError(ValueError):
    """A fault in a shop.yaml: every line of the message is one sentence with the file, the field and the remedy."""

    def __init__(self, *faults: str) -> None:
        """Keep the faults apart, so that a page can list them.

        Args:
            faults: One sentence each, at least one.
        """
        super().__init__("\n".join(faults))
        self.faults = faults


class SourceError(ValueError):
    """A file that cannot be used at all: one sentence with the file, what is wrong with it, and the remedy."""

    def __init__(self, file: str, what: str, remedy: str) -> None:
        """Compose the sentence.

        Args:
            file: Path or URL of the file, or the pattern that matched nothing.
            what: What is wrong, without a full stop and without any value of a row.
            remedy: What its owner can do, without a full stop.
        """
        super().__init__(f"{file}: {what}; {remedy}.")
        self.file = file
        self.what = what
        self.remedy = remedy
