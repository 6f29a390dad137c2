"""Writes the tokens that a sweep trains and is evaluated on, for the published code to train on the same.

PYTHONPATH=benchmarks python -m published_seqpe.tokens sweeps/seqpe-beside-published.yaml tokens.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pebench.data.text import load_corpus
from pebench.data.tokenization import load_tokenizer
from pebench.data.tokens import token_stream
from pebench.errors import UserError
from pebench.resolve import build_task
from pebench.sweeping.sweep import load_sweep
from pebench.tasks.language_modeling import LanguageModelingOptions


def write(sweep: Path, output: Path) -> str:
    """Writes one-dimensional arrays `train` and `heldout`, and the number `vocabulary`.

    Args:
        sweep: the file of a sweep on language modelling.
        output: a file of the form npz.

    Returns:
        How many there are.

    Raises:
        UserError: the sweep models no language, or is evaluated on tokens from all over the split.
    """
    options = build_task(load_sweep(sweep).cells[0]).options
    if not isinstance(options, LanguageModelingOptions):
        raise UserError(f"{sweep} has no task language-modeling.")
    if options.tokens is not None and options.choice != "beginning":
        raise UserError(f"{sweep} evaluates on {options.choice} tokens: say 'choice: beginning'.")
    corpus = load_corpus(options.data)
    tokenizer = load_tokenizer(options.tokenizer, corpus)
    train = token_stream(corpus, tokenizer, "train").tokens
    heldout = token_stream(corpus, tokenizer, options.split).tokens
    if options.tokens is not None:
        # A token more, which is predicted alone.
        heldout = heldout[: options.tokens + 1]
    np.savez(output, train=train, heldout=heldout, vocabulary=tokenizer.vocabulary_size)
    return (
        f"{len(train):,} tokens to train on, {len(heldout):,} held out, {tokenizer.vocabulary_size:,} kinds"
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml", help="the file of the sweep")
    parser.add_argument("output", type=Path, metavar="TOKENS.npz", help="the file to write")
    chosen = parser.parse_args()
    try:
        print(write(chosen.sweep, chosen.output))  # noqa: T201
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
