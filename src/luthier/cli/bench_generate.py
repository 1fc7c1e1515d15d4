"""`luthier bench generate`: the product's own generation on prompts of a recipe's rows, or on made-up ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from luthier.cli.bench_ground import Ground, bench_ground, model_name
from luthier.floor.errors import UsageError
from luthier.floor.stop import StopFlag, listen_for_stop

if TYPE_CHECKING:
    from luthier.config.recipe import Recipe
    from luthier.evaluate.speed import GenerationSpeed
    from luthier.reports.bench import BenchReport


class GenerateBench:
    """One measurement of generation."""

    def __init__(
        self, words: Sequence[str] | None, shape: str | None, *, prompts: int, new_tokens: int
    ) -> None:
        self.words, self.shape = words, shape
        self.prompts, self.new_tokens = prompts, new_tokens

    def run(self) -> "BenchReport":
        """Measure; the folder it was done in is gone when this returns."""
        with listen_for_stop(StopFlag()) as stop, bench_ground() as ground:
            from luthier.data.stage import prepare
            from luthier.encoding.open import training_rows
            from luthier.evaluate.speed import measure_generation
            from luthier.knowledge.model_folder import find_model
            from luthier.tokens.prompt import prompt_of

            # The median row has 150 tokens: half a pack of 2,048 more than enough prompts are made.
            recipe = ground.own(ground.recipe_of(self.words, self.shape, {"packs": 1 + self.prompts // 6}))
            if recipe.model.name is None:
                raise UsageError(
                    "usage",
                    "a model from scratch has no base that could answer",
                    where="method.kind",
                    fix="Measure a shape instead: luthier bench generate --shape tiny",
                )
            data = prepare(recipe, ground.run, listener=ground.screen, stop=stop)
            with training_rows(recipe, data, listener=ground.screen) as rows:
                prompts = [prompt_of(rows, row) for row in range(min(self.prompts, rows.rows))]
            found = measure_generation(
                recipe,
                find_model(recipe.model.name, recipe.model.revision),
                prompts,
                new_tokens=self.new_tokens,
                trace=ground.folder / "trace.json.gz",
                listener=ground.screen,
                stop=stop,
            )
            return self.report(recipe, ground, found)

    def report(self, recipe: "Recipe", ground: Ground, found: "GenerationSpeed") -> "BenchReport":
        """Put the measurement and the machine's limit together. Prompts are arithmetic too, so they count for the shares."""
        from luthier.cli.bench_text import sentence
        from luthier.modelling.device import PRECISIONS, choose_device
        from luthier.modelling.matmul_speed import let_go_of_memory, measure_matmul
        from luthier.reports.bench import BenchReport
        from luthier.reports.provenance import gather_provenance

        device = choose_device(recipe.model.device)
        let_go_of_memory(device)
        ground.screen.say("measuring a square product")
        reached, width = measure_matmul(device, PRECISIONS[found.precision].dtype)
        done = (found.new_tokens + found.prompt_tokens) * found.flops_per_token / found.seconds
        return BenchReport(
            kind="generate",
            model=model_name(recipe, ground),
            method=None,
            device=found.device,
            precision=found.precision,
            attention=found.attention,
            compiled=None,
            steps=found.answers,
            warmup=0,
            tokens=found.new_tokens,
            seconds=found.seconds,
            tokens_per_second=found.new_tokens / found.seconds,
            first_seconds=found.first_seconds,
            peak_bytes=found.peak_bytes,
            flops_per_token=found.flops_per_token,
            spec_flops=found.peak_flops,
            share_of_spec=done / found.peak_flops if found.peak_flops else None,
            matmul_flops=reached,
            matmul_width=width,
            share_of_matmul=done / reached,
            breakdown=dict(found.costs.seconds),
            traced_steps=found.costs.steps,
            largest=sentence(found.costs, "generate"),
            provenance=gather_provenance(device=found.device),
        )
