"""The methods that a run used and the works they are from, as the code that computes them names its sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from transfer_cli.config.dotted import dotted
from transfer_cli.records.cards.facts import CardFacts
from transfer_cli.records.pages.words import mixture


class Work(NamedTuple):
    """A paper."""

    author: str
    year: int
    title: str
    arxiv: str | None = None

    def __str__(self) -> str:
        link = f", [arXiv {self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else ""
        return f"{self.author} {self.year}, “{self.title}”{link}"


Used = Callable[[Any], bool]


def _on(value: Any) -> bool:
    """A switch that is on, or a weight above nothing."""
    return isinstance(value, bool | int | float) and value > 0


def _is(name: str) -> Used:
    return lambda value: bool(value == name)


class Cited(NamedTuple):
    """What `key` of the settings turns on, and whose it is."""

    key: str
    used: Used
    what: str
    work: Work


_LP_FT = Work(
    "Kumar", 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution", "2202.10054"
)
_ULMFIT = Work("Howard", 2018, "Universal Language Model Fine-tuning for Text Classification", "1801.06146")

TABLE = (
    Cited(
        "strategy.solver",
        _is("lbfgs"),
        "logistic regression on frozen features, its penalty chosen on validation",
        Work("Kornblith", 2019, "Do Better ImageNet Models Transfer Better?", "1805.08974"),
    ),
    Cited(
        "strategy.solver",
        _is("ridge"),
        "ridge regression that chooses its own penalty",
        Work("Golub", 1979, "Generalized Cross-Validation as a Method for Choosing a Good Ridge Parameter"),
    ),
    Cited(
        "strategy.solver",
        _is("knn"),
        "votes of the nearest training images",
        Work("Caron", 2021, "Emerging Properties in Self-Supervised Vision Transformers", "2104.14294"),
    ),
    Cited(
        "strategy.solver",
        _is("optimizer"),
        "linear probes that train together",
        Work("Oquab", 2023, "DINOv2: Learning Robust Visual Features without Supervision", "2304.07193"),
    ),
    Cited(
        "strategy.adapter",
        _is("lora"),
        "low-rank updates",
        Work("Hu", 2021, "LoRA: Low-Rank Adaptation of Large Language Models", "2106.09685"),
    ),
    Cited(
        "strategy.adapter",
        _is("linear"),
        "bottleneck adapters",
        Work("Houlsby", 2019, "Parameter-Efficient Transfer Learning for NLP", "1902.00751"),
    ),
    Cited(
        "strategy.adapter",
        _is("bitfit"),
        "training of the biases alone",
        Work(
            "Ben Zaken",
            2022,
            "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
            "2106.10199",
        ),
    ),
    Cited("strategy.head_first", _on, "a head fitted before all else (LP-FT)", _LP_FT),
    Cited("strategy.head_init", _is("probe"), "a head fitted to frozen features first", _LP_FT),
    Cited("strategy.gradual", _on, "stages that thaw one after another", _ULMFIT),
    Cited("strategy.layer_decay", lambda value: _on(value) and value < 1, "lower rates for lower stages", _ULMFIT),
    Cited(
        "strategy.l2sp.alpha",
        _on,
        "a penalty on the distance to the start (L2-SP)",
        Work("Li", 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", "1802.01483"),
    ),
    Cited(
        "strategy.bss.weight",
        _on,
        "batch spectral shrinkage",
        Work(
            "Chen",
            2019,
            "Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning",
        ),
    ),
    Cited(
        "strategy.delta.weight",
        _on,
        "a penalty on the distance of features (DELTA)",
        Work("Li", 2019, "DELTA: DEep Learning Transfer using Feature Map with Attention", "1901.09229"),
    ),
    Cited(
        "strategy.sam",
        _on,
        "sharpness-aware minimisation",
        Work("Foret", 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization", "2010.01412"),
    ),
    Cited(
        "strategy.ema",
        _on,
        "an average of the weights",
        Work("Polyak", 1992, "Acceleration of stochastic approximation by averaging"),
    ),
    Cited(
        "strategy.loss",
        _is("focal"),
        "focal loss",
        Work("Lin", 2017, "Focal Loss for Dense Object Detection", "1708.02002"),
    ),
    Cited(
        "strategy.logit_adjustment",
        _on,
        "logit adjustment",
        Work("Menon", 2021, "Long-tail learning via logit adjustment", "2007.07314"),
    ),
    Cited(
        "strategy.label_smoothing",
        _on,
        "label smoothing",
        Work("Szegedy", 2016, "Rethinking the Inception Architecture for Computer Vision", "1512.00567"),
    ),
    Cited(
        "strategy.loss.kd",
        _on,
        "distillation of softened outputs",
        Work("Hinton", 2015, "Distilling the Knowledge in a Neural Network", "1503.02531"),
    ),
    Cited(
        "strategy.loss.dkd",
        _on,
        "decoupled distillation (DKD)",
        Work("Zhao", 2022, "Decoupled Knowledge Distillation", "2203.08679"),
    ),
    Cited(
        "strategy.loss.dist",
        _on,
        "correlation with the teacher (DIST)",
        Work("Huang", 2022, "Knowledge Distillation from A Stronger Teacher", "2205.10536"),
    ),
    Cited("strategy.loss.hint", _on, "hints", Work("Romero", 2015, "FitNets: Hints for Thin Deep Nets", "1412.6550")),
    Cited(
        "strategy.loss.attention",
        _on,
        "attention transfer",
        Work("Zagoruyko", 2017, "Paying More Attention to Attention", "1612.03928"),
    ),
    Cited(
        "strategy.loss.rkd",
        _on,
        "relations between samples (RKD)",
        Work("Park", 2019, "Relational Knowledge Distillation", "1904.05068"),
    ),
    Cited(
        "strategy.loss.crd",
        _on,
        "contrast with other images (CRD)",
        Work("Tian", 2020, "Contrastive Representation Distillation", "1910.10699"),
    ),
    Cited(
        "strategy.standardize_logits",
        _on,
        "standardised logits",
        Work("Sun", 2024, "Logit Standardization in Knowledge Distillation", "2403.01427"),
    ),
    Cited(
        "trainer.steps",
        _is("bit"),
        "the rule for steps, rate and mixup (BiT)",
        Work("Kolesnikov", 2020, "Big Transfer (BiT): General Visual Representation Learning", "1912.11370"),
    ),
    Cited(
        "augment.mixup", _on, "mixup", Work("Zhang", 2018, "mixup: Beyond Empirical Risk Minimization", "1710.09412")
    ),
    Cited(
        "augment.cutmix",
        _on,
        "cutmix",
        Work(
            "Yun",
            2019,
            "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
            "1905.04899",
        ),
    ),
    Cited(
        "augment.randaugment",
        lambda value: value is not None,
        "RandAugment",
        Work(
            "Cubuk",
            2020,
            "RandAugment: Practical Automated Data Augmentation with a Reduced Search Space",
            "1909.13719",
        ),
    ),
    Cited(
        "augment.trivialaugment",
        _on,
        "TrivialAugment",
        Work("Mueller", 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", "2103.10158"),
    ),
    Cited(
        "augment.erase", _on, "random erasing", Work("Zhong", 2020, "Random Erasing Data Augmentation", "1708.04896")
    ),
    Cited(
        "optimizer.name",
        _is("adamw"),
        "AdamW",
        Work("Loshchilov", 2019, "Decoupled Weight Decay Regularization", "1711.05101"),
    ),
    Cited(
        "optimizer.name",
        _is("lion"),
        "Lion",
        Work("Chen", 2023, "Symbolic Discovery of Optimization Algorithms", "2302.06675"),
    ),
)
HALVING = Work("Jamieson", 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", "1502.07943")
SOUPS = Work(
    "Wortsman",
    2022,
    "Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time",
    "2203.05482",
)
WISE_FT = Work("Wortsman", 2022, "Robust fine-tuning of zero-shot models", "2109.01903")
CALIBRATION = Work("Guo", 2017, "On Calibration of Modern Neural Networks", "1706.04599")
WILSON = Work("Wilson", 1927, "Probable Inference, the Law of Succession, and Statistical Inference")


def citations(facts: CardFacts) -> list[tuple[str, Work]]:
    """What the run did, in words, and whose it is; each once."""
    s, settings = facts.summary, dotted(facts.config)
    found = [(one.what, one.work) for one in TABLE if _applies(one, facts, settings)]
    if facts.searched:
        found.append(("candidates compared by successive halving", HALVING))
    soup = str(s.get("soup") or "")
    if "soup" in soup:
        found.append(("weights averaged over runs", SOUPS))
    if soup.startswith("wise_ft") or mixture(s):
        found.append(("weights between the start and the end (WiSE-FT)", WISE_FT))
    if facts.tested:
        found.append(("expected calibration error" + (" and temperature" if s.get("calibration") else ""), CALIBRATION))
    if "accuracy" in facts.intervals:
        found.append(("the interval of accuracy", WILSON))
    return found


def _applies(one: Cited, facts: CardFacts, settings: Mapping[str, Any]) -> bool:
    """Whether a method was used: one of those that train, where something is trained; a teacher's where one taught."""
    group, strategy = one.key.partition(".")[0], facts.of("strategy")
    if facts.as_it_was and not one.key.startswith("strategy.head_"):
        return False
    if group in ("augment", "optimizer", "trainer") and not facts.learns:
        return False
    of_teacher = one.key.startswith(("strategy.loss.", "strategy.standardize_logits"))
    if of_teacher and strategy.get("use_teacher") is False:
        return False
    return one.key in settings and one.used(settings[one.key])
