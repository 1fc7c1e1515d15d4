"""Topics of learning: the arithmetic of a layer and of a step."""

from luthier.floor.errors import UsageError
from luthier.plan.compute import FROZEN_FLOPS, TRAINED_FLOPS
from luthier.plan.topics.case import Case
from luthier.plan.topics.topic import Topic, Values

# What stands in a formula where only a run could tell.
GRADIENT, GRADIENT_NORM = 0.01, 2.5
EXAMPLE = "an example"
RUNS = "of the run, or an example without one"


def _flops(case: Case) -> Values:
    shape = case.shape
    frozen = shape.linear_weights + shape.vocabulary * shape.width
    is_adapted = case.trained_numbers != case.model.parameters
    return {
        "frozen": frozen if is_adapted else 0,
        "trained": case.trained_numbers if is_adapted else frozen,
        "width": shape.query_width,
        "layers": shape.layers,
        "row_tokens": case.row_tokens,
    }


def _mfu(case: Case) -> Values:
    values = _flops(case)
    per_token = FROZEN_FLOPS * values["frozen"] + TRAINED_FLOPS * values["trained"]
    peak = case.device.peak_flops
    if peak is None:
        what = f"the best rate of {case.device.name} is not known, so there is no share of it"
        raise UsageError("usage", what, where="mfu", fix="Measure it: luthier bench train RECIPE")
    rate = case.measured("tokens_per_second", case.device.share[1] * peak / per_token)
    return {"flops_per_token": per_token, "tokens_per_second": rate, "peak": peak}


def _schedule(case: Case) -> Values:
    schedule, lr = case.recipe.train.schedule, case.recipe.train.lr
    warmup = round(schedule.warmup_fraction * case.steps)
    return {
        "lr": lr,
        "floor": lr * schedule.lr_floor_fraction,
        "step": case.steps // 2,
        "warmup": warmup,
        "steps": case.steps,
    }


def _batch(case: Case) -> Values:
    train = case.recipe.train
    return {
        "batch_size": train.batch_size,
        "accumulation": train.gradient_accumulation_steps,
        "devices": 1,
    }


LEARNING: tuple[Topic, ...] = (
    Topic(
        name="flops",
        sentence="A product costs two operations a weight a token forward, as much again for the gradient of its input, and once more for the gradient of a weight that is trained.",
        result="operations a token in training",
        formula="4 * frozen + 6 * trained + 3.5 * 2 * width * layers * row_tokens",
        values=_flops,
        meanings={
            "frozen": "weights that stay",
            "trained": "weights that learn",
            "width": "of all query heads",
            "layers": "decoder layers",
            "row_tokens": "tokens of a row on average: attention looks back over half of them, forward and back",
        },
        change="Fewer tokens, a smaller model, or adapters instead of every weight.",
        read_on="Kaplan et al. 2020, arXiv 2001.08361, section 2.1",
        also=("compute",),
    ),
    Topic(
        name="mfu",
        sentence="Model FLOPs utilization: what of the chip's best rate goes into the arithmetic that the model needs; recomputation does not count.",
        result="share of the peak",
        formula="flops_per_token * tokens_per_second / peak",
        values=_mfu,
        meanings={
            "flops_per_token": "operations a token, attention left out",
            "tokens_per_second": f"{RUNS}",
            "peak": "dense 16-bit operations a second of the device at best",
        },
        change="Longer packs (train.pack_tokens), train.compile; luthier bench train says what holds it back.",
        read_on="Chowdhery et al. 2022, arXiv 2204.02311, appendix B",
        also=("utilization",),
    ),
    Topic(
        name="attention",
        sentence="Each query looks at every earlier key. Heads may have keys of their own (MHA), share one set (MQA), or share in groups (GQA), which makes the cache so many times smaller.",
        result="queries that share a key head",
        formula="query_width / kv_width",
        values=lambda case: {"query_width": case.shape.query_width, "kv_width": case.shape.key_width},
        meanings={"query_width": "query heads x width of a head", "kv_width": "key heads x width of a head"},
        change="It is part of the base: 1 is MHA, the number of heads is MQA, between them is GQA.",
        read_on="Ainslie et al. 2023, arXiv 2305.13245",
        also=("mha", "mqa", "gqa"),
    ),
    Topic(
        name="rope",
        sentence="Pairs of numbers of queries and keys are turned by an angle that grows with the position, so that their product depends on the distance alone.",
        result="angle of the slowest pair at the last position, in radians",
        formula="position / theta ** (2 * pair / head_width)",
        values=lambda case: {
            "position": case.recipe.data.max_length,
            "theta": 10_000,
            "pair": case.shape.head_width // 2 - 1,
            "head_width": case.shape.head_width,
        },
        meanings={
            "position": "data.max_length",
            "theta": "10,000 in the paper; rope_theta of config.json where a model has another",
            "pair": "the last one turns slowest",
            "head_width": "numbers of a head",
        },
        change="It is part of the base; rows beyond its context turn pairs further than they ever were.",
        read_on="Su et al. 2021, arXiv 2104.09864",
        also=("position", "rotary"),
    ),
    Topic(
        name="rmsnorm",
        sentence="A vector is divided by its root mean square and scaled by a learnt weight; unlike a layer norm it takes no mean away.",
        result="a number after the norm",
        formula="x / sqrt(mean_square + eps) * weight",
        values=lambda case: {"x": 3, "mean_square": 4, "eps": 1e-6, "weight": 1},
        meanings={
            "x": EXAMPLE,
            "mean_square": f"mean of the squares of the vector, {EXAMPLE}",
            "eps": "against a division by zero",
            "weight": "learnt, 1 at first",
        },
        change="It is part of the base.",
        read_on="Zhang and Sennrich 2019, arXiv 1910.07467",
        also=("layernorm", "norm"),
    ),
    Topic(
        name="swiglu",
        sentence="The feed-forward part multiplies one branch by another that went through x sigmoid(x): three matrices instead of two.",
        result="numbers of a layer's feed-forward part",
        formula="matrices * width * intermediate",
        values=lambda case: {
            "matrices": case.shape.feed_forward_matrices,
            "width": case.shape.width,
            "intermediate": case.shape.intermediate,
        },
        meanings={
            "matrices": "gate, up and down; two in families without a gate",
            "width": "hidden_size",
            "intermediate": "intermediate_size",
        },
        change="It is part of the base.",
        read_on="Shazeer 2020, arXiv 2002.05202",
        also=("ffn", "mlp", "geglu"),
    ),
    Topic(
        name="packing",
        sentence="Rows are laid end to end and kept apart by the attention, instead of being padded to the longest one of a batch.",
        result="share of a padded batch that would be rows",
        formula="row_tokens / longest",
        values=lambda case: {"row_tokens": case.row_tokens, "longest": case.recipe.data.max_length},
        meanings={"row_tokens": "of a row on average", "longest": "data.max_length"},
        change="train.packing=false pads; train.pack_tokens sets the length of a pack.",
        read_on="docs/explanation/masks-and-packing.md",
        also=("padding",),
    ),
    Topic(
        name="lr-schedule",
        sentence="The rate rises over the warm-up and then falls along half a cosine to its floor.",
        result="learning rate in the middle of the run",
        formula="floor + (lr - floor) * 0.5 * (1 + cos(pi * (step - warmup) / (steps - warmup)))",
        values=_schedule,
        meanings={
            "lr": "train.lr",
            "floor": "train.lr x train.schedule.lr_floor_fraction",
            "step": "half of the steps",
            "warmup": "steps of the warm-up",
            "steps": "of the run",
        },
        change="train.schedule.kind is cosine, linear, constant or wsd.",
        read_on="Loshchilov and Hutter 2016, arXiv 1608.03983",
        also=("schedule", "cosine", "learning-rate", "lr-scheduler"),
    ),
    Topic(
        name="warmup",
        sentence="Moments know nothing at first, and their steps would be too large: the rate rises from 0.",
        result="learning rate at the tenth step",
        formula="lr * min(1, 10 / max(1, warmup_fraction * steps))",
        values=lambda case: {
            "lr": case.recipe.train.lr,
            "warmup_fraction": case.recipe.train.schedule.warmup_fraction,
            "steps": case.steps,
        },
        meanings={
            "lr": "train.lr",
            "warmup_fraction": "train.schedule.warmup_fraction",
            "steps": "of the run",
        },
        change="train.schedule.warmup_fraction; 0.03 to 0.1 is usual.",
        read_on="Goyal et al. 2017, arXiv 1706.02677",
    ),
    Topic(
        name="batch",
        sentence="An optimizer step averages over so many rows; more of them make steadier and fewer steps.",
        result="rows of a step",
        formula="batch_size * accumulation * devices",
        values=_batch,
        meanings={
            "batch_size": "train.batch_size, rows of a micro-batch",
            "accumulation": "train.gradient_accumulation_steps",
            "devices": "1 here",
        },
        change="train.batch_size and train.gradient_accumulation_steps, or tokens instead of rows: train.tokens_per_step.",
        read_on="McCandlish et al. 2018, arXiv 1812.06162",
        also=("batch-size", "effective-batch"),
    ),
    Topic(
        name="accumulation",
        sentence="A step's rows go through the model in several micro-batches whose gradients add up, so that memory is bounded and the step is not.",
        result="micro-batches of a step, about",
        formula="max(1, step_tokens / micro_tokens)",
        values=lambda case: {"step_tokens": case.step_tokens, "micro_tokens": case.micro_batch_tokens},
        meanings={
            "step_tokens": "tokens of an optimizer step",
            "micro_tokens": "tokens of a micro-batch at most",
        },
        change="train.pack_tokens; the rows of a step stay the same.",
        read_on="docs/explanation/masks-and-packing.md",
        also=("gradient-accumulation",),
    ),
    Topic(
        name="weight-decay",
        sentence="Weights shrink by lr x decay at every step, apart from the gradient; one that nothing holds fades away.",
        result="what is left of a weight without a gradient after the run, at the highest rate",
        formula="(1 - lr * decay) ** steps",
        values=lambda case: {
            "lr": case.recipe.train.lr,
            "decay": case.recipe.train.optimizer.weight_decay,
            "steps": case.steps,
        },
        meanings={
            "lr": "train.lr",
            "decay": "train.optimizer.weight_decay",
            "steps": "of the run",
        },
        change="train.optimizer.weight_decay; adapters are often trained without.",
        read_on="Loshchilov and Hutter 2019, arXiv 1711.05101",
        also=("regularization",),
    ),
    Topic(
        name="clipping",
        sentence="A gradient longer than the bound is scaled down to it, so that one bad batch cannot undo the training.",
        result="factor of the gradient",
        formula="min(1, clip / norm)",
        values=lambda case: {"clip": case.recipe.train.optimizer.clip_norm or 1.0, "norm": GRADIENT_NORM},
        meanings={"clip": "train.optimizer.clip_norm", "norm": f"length of the gradient, {EXAMPLE}"},
        change="train.optimizer.clip_norm; train/grad_norm in the metrics shows how often it acts.",
        read_on="Pascanu et al. 2012, arXiv 1211.5063",
        also=("grad-norm", "gradient-clipping"),
    ),
    Topic(
        name="adam",
        sentence="Each weight moves by the mean of its gradients over the root of the mean of their squares: at first by about the rate, whatever the gradient.",
        result="first step of a weight",
        formula="lr * gradient / (sqrt(gradient * gradient) + epsilon)",
        values=lambda case: {
            "lr": case.recipe.train.lr,
            "gradient": GRADIENT,
            "epsilon": case.recipe.train.optimizer.epsilon,
        },
        meanings={
            "lr": "train.lr",
            "gradient": EXAMPLE,
            "epsilon": "train.optimizer.epsilon",
        },
        change="train.optimizer.beta1, beta2 and epsilon; adamw_8bit keeps the moments in 8 bits.",
        read_on="Kingma and Ba 2014, arXiv 1412.6980",
        also=("adamw", "optimizer", "beta2", "epsilon"),
    ),
    Topic(
        name="dropout",
        sentence="Numbers on the way into an adapter are left out at random, the others made larger to make up for them; none are when the model answers.",
        result="factor of the numbers that stay",
        formula="1 / (1 - dropout)",
        values=lambda case: {"dropout": case.lora.dropout},
        meanings={"dropout": "method.dropout"},
        change="method.dropout; 0 is faster, and usual for large models.",
        read_on="Srivastava et al. 2014, JMLR 15",
    ),
)
