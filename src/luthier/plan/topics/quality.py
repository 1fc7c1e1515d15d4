"""Topics of quality: what is learnt from, and how well it went."""

from luthier.plan.topics.case import Case
from luthier.plan.topics.topic import Topic, Values

# What stands in a formula where only a run could tell.
LOSS, LOSS_BEFORE = 1.2, 1.0
BYTES_A_TOKEN, TRAINED_SHARE = 4.0, 0.65
EXAMPLE = "an example"
RUNS = "of the run, or an example without one"


def _mask(case: Case) -> Values:
    counts = case.data.train if case.data else None
    tokens = (counts.tokens if counts else None) or case.tokens.epoch_tokens or 1000
    trained = (counts.trained_tokens if counts else None) or round(TRAINED_SHARE * tokens)
    return {"trained": trained, "tokens": tokens}


QUALITY: tuple[Topic, ...] = (
    Topic(
        name="mask",
        sentence="Only tokens that the model shall write carry loss: answers and what ends them, not prompts.",
        result="share of the tokens that carry loss",
        formula="trained / tokens",
        values=_mask,
        meanings={
            "trained": f"tokens that carry loss, {RUNS}",
            "tokens": "all tokens of the training rows",
        },
        change="data.train_on=last, weights of messages; luthier data show prints the mask.",
        read_on="docs/explanation/masks-and-packing.md",
        also=("loss-mask", "labels"),
    ),
    Topic(
        name="scaling-laws",
        sentence="Loss falls as a power of parameters and tokens (Kaplan); for a given compute about 20 tokens a parameter are best (Chinchilla). Adapting a trained base needs far fewer.",
        result="tokens a parameter in this run",
        formula="epochs * tokens / parameters",
        values=lambda case: {
            "epochs": case.recipe.train.epochs,
            "tokens": case.tokens.epoch_tokens or 10**6,
            "parameters": case.model.parameters,
        },
        meanings={
            "epochs": "train.epochs",
            "tokens": "of an epoch, or a million where nothing could be counted",
            "parameters": "of the model",
        },
        change="For a model from scratch: more text, or a smaller model.",
        read_on="Hoffmann et al. 2022, arXiv 2203.15556; Kaplan et al. 2020",
        also=("chinchilla", "kaplan"),
    ),
    Topic(
        name="perplexity",
        sentence="Among how many equally likely tokens the model seems to choose: e to the power of its loss. Comparable with the same tokenizer only.",
        result="perplexity",
        formula="exp(loss)",
        values=lambda case: {"loss": case.measured("validation_loss", LOSS)},
        meanings={"loss": f"on validation rows, nats a token, {RUNS}"},
        change="It falls as the loss does; below it lies what the rows leave open.",
        read_on="Jelinek et al. 1977",
        also=("loss", "cross-entropy"),
    ),
    Topic(
        name="bits-per-byte",
        sentence="The loss in bits, spread over the bytes of the text: comparable between models whatever their tokenizers.",
        result="bits a byte",
        formula="loss / log(2) / bytes_per_token",
        values=lambda case: {
            "loss": case.measured("validation_loss", LOSS),
            "bytes_per_token": BYTES_A_TOKEN,
        },
        meanings={
            "loss": f"nats a token, {RUNS}",
            "bytes_per_token": "four in English with a large vocabulary",
        },
        change="Compare bases by it before you choose one.",
        read_on="Gao et al. 2020, arXiv 2101.00027",
        also=("bpb",),
    ),
    Topic(
        name="bleu",
        sentence="The geometric mean of the shares of 1- to 4-grams that the reference has too, less a penalty for short answers.",
        result="score between 0 and 1",
        formula="brevity * exp((log(p1) + log(p2) + log(p3) + log(p4)) / 4)",
        values=lambda case: {"brevity": 1, "p1": 0.8, "p2": 0.6, "p3": 0.45, "p4": 0.35},
        meanings={
            "brevity": "1 where the answer is not shorter than the reference",
            "p1": f"share of words, {EXAMPLE}",
            "p2": "of pairs",
            "p3": "of triples",
            "p4": "of quadruples",
        },
        change="It rewards the reference's words: for facts exact_match and F1 say more.",
        read_on="Papineni et al. 2002; sacrebleu computes it here",
    ),
    Topic(
        name="rouge",
        sentence="How much of the reference an answer covers and how much of it is in the reference, by words or by the longest common sequence, in one number.",
        result="F1",
        formula="2 * precision * recall / (precision + recall)",
        values=lambda case: {"precision": 0.6, "recall": 0.75},
        meanings={
            "precision": f"of the answer's words in the reference, {EXAMPLE}",
            "recall": f"of the reference's words in the answer, {EXAMPLE}",
        },
        change="Meant for summaries.",
        read_on="Lin 2004",
        also=("f1",),
    ),
    Topic(
        name="overfitting",
        sentence="The loss on training rows falls while that on validation rows does not: the rows are being learnt by heart.",
        result="gap in nats a token",
        formula="validation_loss - training_loss",
        values=lambda case: {
            "validation_loss": case.measured("validation_loss", LOSS),
            "training_loss": case.measured("final_loss", LOSS_BEFORE),
        },
        meanings={"validation_loss": RUNS, "training_loss": RUNS},
        change="Fewer epochs, more rows, train.validation.patience, train.checkpoint.load_best=true.",
        read_on="docs/how-to/evaluate.md",
        also=("validation", "generalization"),
    ),
)
