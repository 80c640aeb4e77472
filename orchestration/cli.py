"""The command line: `portrait COMMAND`. Commands live in `orchestration.commands`; here is what they have in common.

Exit codes: 0 done; 1 the answer is no (a failed run, an unknown user, problems in a shop); 2 the user can put it right
(a wrong argument, a broken shop.yaml, a missing file). An error that nobody foresaw keeps its traceback.
"""

import atexit
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from orchestration.commands import budget, ledger, people, quarantine, running, shops, synth
from orchestration.commands.common import Fault


class Commands(TyperGroup):
    """The group of all commands: an error that was foreseen is one sentence on standard error and exit code 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run one command line; see `TyperGroup.main`."""
        ends_process = options.pop("standalone_mode", True)
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except typer.Abort:
            code = 130
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "portrait"
            said = error.format_message().replace("Value error, ", "")
            _refuse(f"{said if said.endswith(('.', '?')) else said + '.'} See `{path} --help`.")
        except _foreseen() as error:
            _refuse(str(error))
        if ends_process:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _refuse(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    sys.exit(2)


def _foreseen() -> tuple[type[Exception], ...]:
    """Errors whose message is written for people; evaluated only once something was raised."""
    from data.export import ExportError
    from data.lake_errors import LakeError
    from data.ledger import LedgerError
    from data.pseudonym import KeyFault
    from data.shop.errors import ShopError, SourceError

    return Fault, ShopError, SourceError, KeyFault, LakeError, LedgerError, ExportError


app = typer.Typer(cls=Commands, pretty_exceptions_enable=False, add_completion=False, invoke_without_command=True)


@app.callback()
def _portrait(context: typer.Context) -> None:
    """Living user profiles and recommendations that keep secrets.

    Settings come from the environment: PORTRAIT_SHOP, PORTRAIT_VAR, PORTRAIT_LAKE (s3://bucket/prefix), and others.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for command in (
    running.run,
    running.dev,
    running.status,
    running.evaluate,
    people.profile,
    people.recommend,
    people.export,
    shops.init,
    shops.check_shop,
    shops.dictionary,
    synth.synth,
    quarantine.take_back,
):
    app.command()(command)  # check_shop becomes check-shop
app.add_typer(budget.app, name="budget")
app.add_typer(ledger.app, name="ledger")
app.add_typer(quarantine.app, name="quarantine")


def main() -> None:
    """Entry point of `portrait`."""
    try:
        app(prog_name="portrait")
    except SystemExit as done:
        # DuckDB's binding lists what it takes for leaks on standard error when Python is torn down beside
        # transformers: so the clean-up that was asked for is done, and the process ends without the rest.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(done.code if isinstance(done.code, int) else 0)
