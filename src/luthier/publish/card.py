"""The model card: what a stranger needs to know of the model, written from what the run's stages left and from the author's words.

Nothing is guessed. A figure stands here because a report holds it; what was not measured is said not to be.
"""

from dataclasses import dataclass

from luthier.floor.units import format_bytes, format_count, format_duration
from luthier.knowledge.licences import Licence
from luthier.publish.card_data import data_section
from luthier.publish.card_results import Sample, headline, results_section
from luthier.publish.facts import Facts, sources_of
from luthier.publish.gguf_proof import gguf_section
from luthier.publish.markdown import code, facts_table, link, table
from luthier.publish.metadata import metadata_yaml
from luthier.publish.terms import Terms
from luthier.publish.usage import usage_section

HUB = "https://huggingface.co"
DEFAULT_REPO = "OWNER/NAME"
KINDS = {"lora": "LoRA", "qlora": "QLoRA", "full": "every weight", "scratch": "every weight, from nothing"}


@dataclass(frozen=True)
class Card:
    """A card's parts; `text` is README.md."""

    metadata: str
    body: str

    @property
    def text(self) -> str:
        return f"---\n{self.metadata}\n---\n\n{self.body}"


def write_card(facts: Facts, terms: Terms, samples: list[Sample]) -> Card:
    """The card of a publication."""
    repo = facts.recipe.publish.repo or DEFAULT_REPO
    own = facts.recipe.publish.card
    title = own.title or repo.rpartition("/")[2]
    lines = [f"# {title}", "", own.summary or _summary(facts), ""]
    for display in terms.displays:
        lines += [f"**{display}**", ""]
    lines += [*_at_a_glance(facts, terms), ""]
    sections = [
        ("How to use it", usage_section(facts, repo=repo)),
        ("What it is for, and its limits", _uses(facts)),
        ("Results", results_section(facts, samples)),
        *([("The files and their proof", gguf_section(facts.gguf))] if facts.gguf else []),
        *([("Proof of the merge", _proof(facts))] if facts.what != "adapter" and facts.merge else []),
        ("Data", data_section(facts, terms)),
        ("Training", _training(facts)),
        ("Licence", _licences(facts, terms)),
    ]
    for heading, section in sections:
        lines += [f"## {heading}", "", *section, ""]
    lines.append(_made_with(facts))
    return Card(metadata_yaml(facts, terms, name=title), "\n".join(lines) + "\n")


def _summary(facts: Facts) -> str:
    adapter = f"{KINDS[facts.train.method]} adapter" if facts.what == "adapter" else ""
    kind = {"adapter": f"A {adapter}", "merged": "A model", "gguf": "A model in GGUF files"}[facts.what]
    over = f" over {_base_name(facts)}" if facts.has_base else " from nothing"
    rows = f" on {facts.data.train.rows_kept:,} rows" if facts.data else ""
    names = ", ".join(code(name) for name, _ in sources_of(facts))
    return f"{kind}, trained{over}{rows}{f' of {names}' if names else ''}."


def _base_name(facts: Facts) -> str:
    if facts.base_id:
        revision = facts.recipe.model.revision
        at = f" at {code(revision[:12])}" if revision else ""
        return link(facts.base_id, f"{HUB}/{facts.base_id}") + at
    return "the small embedded base of Luthier" if facts.is_embedded else "a base that is not on the hub"


def _at_a_glance(facts: Facts, terms: Terms) -> list[str]:
    train = facts.train
    kind = {
        "adapter": f"{KINDS[train.method]} adapter" + (f" of rank {facts.lora.rank}" if facts.lora else ""),
        "merged": "whole model"
        + ("" if facts.is_whole else f", {KINDS[train.method]} adapter merged into its base"),
        "gguf": "GGUF files",
    }[facts.what]
    rows = [("What it is", kind)]
    if facts.has_base:
        licence = f" ({terms.base.name})" if terms.base else ""
        rows.append(("Base", f"{_base_name(facts)}{licence}"))
    share = train.parameters_trained / max(1, train.parameters_total)
    rows.append(
        ("Parameters", f"{format_count(train.parameters_total)}, {format_count(train.parameters_trained)} of them trained ({share:.1%})")
    )  # fmt: skip
    if facts.data is not None:
        seen = f"{train.trained_tokens_seen:,} trained tokens of {train.tokens_seen:,} seen"
        rows.append(
            ("Trained on", f"{facts.data.train.rows_kept:,} rows; {seen} in {train.epochs:.2f} epochs")
        )
    rows.append(("Result", headline(facts)))
    rows.append(("Licence", terms.published.name if terms.published else "not given"))
    return facts_table(rows)


def _uses(facts: Facts) -> list[str]:
    own, train = facts.recipe.publish.card, facts.train
    lines = [own.uses, ""] if own.uses else []
    lines += [own.limits, ""] if own.limits else []
    lines.append("What the run itself shows of its limits:")
    lines.append("")
    length = facts.recipe.data.max_length
    lines.append(
        f"- It was trained on rows of at most {length:,} tokens; how it does on longer ones was not measured."
    )
    if facts.tuned is not None and facts.tuned.answers_unfinished:
        lines.append(
            f"- {facts.tuned.answers_unfinished:,} of {facts.tuned.rows:,} answers did not end by themselves within "
            f"{facts.recipe.evaluate.max_new_tokens:,} tokens."
        )
    if facts.compare is not None and facts.compare.rows_lost:
        lines.append(
            f"- On {len(facts.compare.rows_lost):,} of {facts.compare.rows:,} held-out rows it does worse than its base, "
            f"by {facts.compare.gate_metric}."
        )
    if train.validation_loss is None:
        lines.append("- No rows were set apart during the training, so over-fitting was not watched.")
    lines.append(
        "- The results below are of one set of held-out rows like those it was trained on. Safety, bias, other languages and "
        "other tasks were not measured."
    )
    return lines


def _proof(facts: Facts) -> list[str]:
    merge = facts.merge
    assert merge is not None, "only a merge has a proof"
    rows = [
        ("merged into", f"the {'base that the adapter was trained over' if merge.base == 'seen' else 'original base'}, in {merge.dtype}"),
        ("compared", f"{merge.rows_checked:,} held-out rows, {merge.tokens_checked:,} tokens, computed in {merge.computed_in}"),
        ("largest logit difference", f"{merge.max_logit_difference:.2e}"),
        ("mean KL divergence", f"{merge.mean_kl:.2e} nats a token"),
        ("same first choice", f"{merge.top1_agreement:.2%} of tokens"),
    ]  # fmt: skip
    if merge.kl_to_quantized is not None:
        rows.append(
            ("mean KL from the quantized model as trained", f"{merge.kl_to_quantized:.2e} nats a token")
        )
    if merge.metric is not None and merge.metric_before is not None and merge.metric_after is not None:
        rows.append((merge.metric, f"{merge.metric_before:.4f} before, {merge.metric_after:.4f} after"))
    text = (
        "The merged files were loaded by a fresh process and compared with the adapter over its base; a merge that answers "
        "otherwise is not kept."
    )
    return [text, "", *facts_table(rows)]


def _training(facts: Facts) -> list[str]:
    train, recipe = facts.train, facts.recipe
    rows_a_step = recipe.rows_per_step()
    step = f"{rows_a_step:,} rows" if rows_a_step else f"{recipe.train.tokens_per_step:,} tokens"
    settings = [
        ("method", KINDS[train.method]),
        *_adapter_settings(facts),
        ("optimizer", f"{recipe.train.optimizer.name}, weight decay {recipe.train.optimizer.weight_decay:g}"),
        ("learning rate", f"{recipe.train.lr:g}, {recipe.train.schedule.kind}, warm-up {recipe.train.schedule.warmup_fraction:.0%} of the steps"),
        ("a step", f"{step}; rows of at most {recipe.data.max_length:,} tokens{', packed' if recipe.train.packing else ''}"),
        ("length", f"{train.steps:,} steps, {train.epochs:.2f} epochs, {train.tokens_seen:,} tokens seen"),
        ("precision", train.precision),
        ("prompt layout", code(facts.template)),
        ("seed", str(recipe.train.seed)),
    ]  # fmt: skip
    costs = [
        ("hardware", train.provenance.device or train.provenance.platform),
        ("time", f"{format_duration(train.seconds)}, {train.tokens_per_second:,.0f} tokens a second"),
        ("peak memory", format_bytes(train.peak_bytes)),
        ("energy", "not measured"),
    ]
    losses = [
        ("first loss", f"{train.first_loss:.4f}"),
        ("final loss", f"{train.final_loss:.4f}"),
        (
            "validation loss",
            "not measured" if train.validation_loss is None else f"{train.validation_loss:.4f}",
        ),
    ]
    packages = train.provenance.packages
    versions = ", ".join(f"{name} {version}" for name, version in packages.items() if name != "luthier")
    early = (
        ["It was stopped early, when the validation loss no longer fell.", ""] if train.stopped_early else []
    )
    return [
        f"The whole recipe is in {link('config_used.yaml', 'config_used.yaml')}.", "",
        *facts_table(settings), "",
        *early,
        "**What it took**", "", *facts_table(costs), "",
        "**Losses**, in nats a trained token", "", *facts_table(losses), "",
        f"Made with Python {train.provenance.python}, {versions}.",
    ]  # fmt: skip


def _adapter_settings(facts: Facts) -> list[tuple[str, str]]:
    lora = facts.lora
    if lora is None or facts.is_whole:
        return []
    extras = [name for name, is_on in (("rsLoRA", lora.rslora), ("DoRA", lora.dora)) if is_on]
    return [
        ("adapter", f"rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}{''.join(f', {each}' for each in extras)}"),
        ("on", ", ".join(code(name) for name in lora.targets)),
    ]  # fmt: skip


def _licences(facts: Facts, terms: Terms) -> list[str]:
    rows = [("this model", _licence(terms.published))]
    if terms.base is not None:
        rows.append((f"the base, {facts.base_id or 'not on the hub'}", _licence(terms.base)))
    rows += [(f"the data, {each.source}", _licence(each.licence)) for each in terms.data]
    lines = table([("what", "licence"), *rows])
    if terms.acknowledged:
        names = ", ".join(code(name) for name in sorted(terms.acknowledged))
        lines += ["", f"The author answers for publishing in spite of: {names}."]
    return lines


def _licence(licence: Licence | None) -> str:
    if licence is None:
        return "not given"
    return link(licence.title, licence.source) if licence.source else licence.title


def _made_with(facts: Facts) -> str:
    version = facts.train.provenance.packages.get("luthier", "")
    return f"*Card written by Luthier {version} from the reports of the run {facts.run.name}.*".replace(
        "  ", " "
    )
