"""Topics of size: what takes memory and disk, and how much."""

from luthier.plan.memory import memory_of
from luthier.plan.topics.case import Case
from luthier.plan.topics.topic import Topic, Values

BITS_OF_Q8_0 = 8.5
DEVICES = 4


def _memory(case: Case) -> Values:
    items = {item.name: item.bytes for item in memory_of(case.model, case.recipe, case.device)["train"].items}
    named = ("weights", "adapters", "gradients", "optimizer", "activations", "logits")
    return {
        **{name: items.get(name, 0) for name in named},
        "overhead": sum(size for name, size in items.items() if name not in named),
    }


def _lora(case: Case) -> Values:
    matrices = case.shape.layer_matrices
    names = matrices if "all-linear" in case.lora.targets else set(case.lora.targets) & set(matrices)
    return {"layers": case.shape.layers, "rank": case.lora.rank, "sides": sum(sum(matrices[name]) for name in names)}  # fmt: skip


def _cache(case: Case) -> Values:
    tokens = case.recipe.data.max_length
    return {
        "layers": case.shape.layers,
        "kv_width": case.shape.key_width,
        "size": case.device.compute_bytes,
        "tokens": tokens,
    }


LAYERS = "decoder layers of the model"
SIZE = "bytes of a number in the computation"
LINEAR = "numbers in the linear modules of all layers"
EMBEDDINGS = "numbers in the embeddings, which stay as they are"
TRAINED = "numbers that the method trains"

SIZES: tuple[Topic, ...] = (
    Topic(
        name="memory",
        sentence="A training holds weights, what it trains of them three times over (gradient and two moments), the activations that the backward pass needs, and a chunk of logits.",
        result="bytes at the peak of a step",
        formula="weights + adapters + gradients + optimizer + activations + logits + overhead",
        values=_memory,
        meanings={
            "weights": "the base, in the format that the method keeps it in",
            "adapters": "in fp32",
            "gradients": "4 bytes a trained number",
            "optimizer": "two moments, 8 bytes a trained number (2 with adamw_8bit)",
            "activations": "tensors kept of every layer, by the tokens of a micro-batch",
            "logits": "of a chunk of tokens that carry loss",
            "overhead": "context and libraries, the allocator's gaps, unpacked weights",
        },
        change="luthier plan RECIPE --fit lists the ways, cheapest in speed first.",
        read_on="docs/how-to/plan.md",
        also=("vram", "oom", "out-of-memory"),
    ),
    Topic(
        name="lora",
        sentence="A change of rank r to a matrix is the product of two thin ones, so that r(d + k) numbers are trained instead of d x k.",
        result="trained numbers",
        formula="layers * rank * sides",
        values=_lora,
        meanings={
            "layers": LAYERS,
            "rank": "method.rank",
            "sides": "inputs and outputs of the targeted modules of a layer, added up",
        },
        change="method.rank, method.targets; method.alpha / method.rank scales what they add.",
        read_on="Hu et al. 2021, arXiv 2106.09685",
        also=("rank", "adapter", "adapters"),
    ),
    Topic(
        name="qlora",
        sentence="The frozen base is kept in 4 bits and unpacked matrix by matrix as it is needed; adapters are trained over it in full precision.",
        result="bytes of the base",
        formula="linear * 4.127 / 8 + embeddings * size",
        values=lambda case: {
            "linear": case.shape.linear_weights,
            "embeddings": case.shape.embedding_weights,
            "size": case.device.compute_bytes,
        },
        meanings={"linear": LINEAR, "embeddings": EMBEDDINGS, "size": SIZE},
        change="method.kind=qlora; method.bits=8 is nearer to the original.",
        read_on="Dettmers et al. 2023, arXiv 2305.14314",
    ),
    Topic(
        name="nf4",
        sentence="Sixteen levels at the quantiles of a normal distribution; each block of 64 numbers has a scale, and the scales are quantized to 8 bits in blocks of 256.",
        result="bits a number",
        formula="4 + scale_bits / block + 32 / (block * scale_block)",
        values=lambda case: {"scale_bits": 8, "block": 64, "scale_block": 256},
        meanings={
            "scale_bits": "of a quantized scale; 32 without method.double_quantization",
            "block": "numbers that share a scale",
            "scale_block": "scales that share one of their own in fp32",
        },
        change="method.double_quantization=false takes 4.5 bits.",
        read_on="Dettmers et al. 2023, section 3",
        also=("4-bit", "double-quantization"),
    ),
    Topic(
        name="int8",
        sentence="Rows of weights are scaled to 8 bits; the few columns where activations exceed 6 are computed in 16 bits, since rounding them would spoil the rest.",
        result="bytes of the base",
        formula="linear * 1 + embeddings * size",
        values=lambda case: {
            "linear": case.shape.linear_weights,
            "embeddings": case.shape.embedding_weights,
            "size": case.device.compute_bytes,
        },
        meanings={"linear": LINEAR, "embeddings": EMBEDDINGS, "size": SIZE},
        change="method.kind=qlora method.bits=8",
        read_on="Dettmers et al. 2022, arXiv 2208.07339",
        also=("8-bit", "llm.int8"),
    ),
    Topic(
        name="checkpointing",
        sentence="Only the input of each layer is kept, and the rest of its activations is computed once more on the way back: less memory for a second forward pass.",
        result="bytes kept of a micro-batch, beside one layer's activations",
        formula="tokens * layers * width * size",
        values=lambda case: {
            "tokens": case.micro_batch_tokens,
            "layers": case.shape.layers,
            "width": case.shape.width,
            "size": case.device.compute_bytes,
        },
        meanings={
            "tokens": "of a micro-batch (train.pack_tokens)",
            "layers": LAYERS,
            "width": "of the model (hidden_size)",
            "size": SIZE,
        },
        change="train.gradient_checkpointing=true",
        read_on="Chen et al. 2016, arXiv 1604.06174",
        also=("gradient-checkpointing", "activations"),
    ),
    Topic(
        name="kv-cache",
        sentence="While a model answers, keys and values of all earlier tokens are kept, so that each new token costs one pass of one token.",
        result="bytes of one conversation",
        formula="2 * layers * kv_width * size * tokens",
        values=_cache,
        meanings={
            "layers": LAYERS,
            "kv_width": "key heads x width of a head",
            "size": SIZE,
            "tokens": "prompt and answer (data.max_length here)",
        },
        change="evaluate.batch_tokens and serve.queue.most_running bound how many are kept at once.",
        read_on="Pope et al. 2022, arXiv 2211.05102",
        also=("kv", "cache"),
    ),
    Topic(
        name="flash-attention",
        sentence="Scores between all pairs of tokens are computed in tiles that fit the chip's own memory and are never written out: the same result, without the square.",
        result="bytes of one layer's scores that are not stored",
        formula="heads * tokens * tokens * size",
        values=lambda case: {
            "heads": case.shape.heads,
            "tokens": case.recipe.data.max_length,
            "size": case.device.compute_bytes,
        },
        meanings={"heads": "query heads", "tokens": "of a row (data.max_length)", "size": SIZE},
        change="model.attention=auto chooses a kernel of this kind on CUDA.",
        read_on="Dao 2023, arXiv 2307.08691",
        also=("varlen", "sdpa"),
    ),
    Topic(
        name="mixed-precision",
        sentence="Products are computed in 16 bits, sums and the weights that are trained in 32; bf16 has the range of fp32 with 8 bits of accuracy, fp16 more accuracy and a largest number of 65,504.",
        result="largest relative error of rounding one number",
        formula="2 ** -(bits + 1)",
        values=lambda case: {"bits": {"bf16": 7, "fp16": 10, "fp32": 23}[case.device.precision]},
        meanings={"bits": "of the fraction: bf16 7, fp16 10, fp32 23"},
        change="train.precision; auto is bf16 where the GPU has it.",
        read_on="Micikevicius et al. 2017, arXiv 1710.03740",
        also=("precision", "bf16", "fp16"),
    ),
    Topic(
        name="ddp",
        sentence="Every device holds the whole model and a part of the batch; after each step they add up their gradients in a ring.",
        result="bytes that each device sends in a step",
        formula="2 * (devices - 1) / devices * trained * 4",
        values=lambda case: {"devices": DEVICES, "trained": case.trained_numbers},
        meanings={"devices": "an example of four", "trained": TRAINED},
        change="Adapters send little; with every weight trained the links decide.",
        read_on="Li et al. 2020, arXiv 2006.15704",
    ),
    Topic(
        name="fsdp",
        sentence="Weights, gradients and moments are cut into parts, one a device, and gathered layer by layer as they are needed.",
        result="bytes that each device keeps",
        formula="(weights + gradients + optimizer) / devices",
        values=lambda case: {
            **{
                name: value
                for name, value in _memory(case).items()
                if name in ("weights", "gradients", "optimizer")
            },
            "devices": DEVICES,
        },
        meanings={
            "weights": "of the whole model",
            "gradients": "4 bytes a trained number",
            "optimizer": "two moments of it",
            "devices": "an example of four",
        },
        change="Worth its messages where the model does not fit one device.",
        read_on="Zhao et al. 2023, arXiv 2304.11277",
        also=("zero", "sharding"),
    ),
    Topic(
        name="gguf",
        sentence="One file with weights, tokenizer and template for llama.cpp and what is built on it; Q8_0 keeps blocks of 32 numbers in 8 bits with a 16-bit scale.",
        result="bytes of a Q8_0 file",
        formula="parameters * bits / 8",
        values=lambda case: {"parameters": case.model.parameters, "bits": BITS_OF_Q8_0},
        meanings={"parameters": "numbers of the model", "bits": "8 and a sixteen-bit scale a block of 32"},
        change="luthier export gguf --quant Q5_K_M",
        read_on="docs/how-to/gguf.md",
        also=("quantization", "llama.cpp"),
    ),
)
