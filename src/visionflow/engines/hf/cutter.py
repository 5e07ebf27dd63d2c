"""Who cuts: the cuts of a plan on one prompt, the evidence seen so far, and what the trace is told of it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from visionflow.core import cutting
from visionflow.core.attention import AttentionRows, exact, out_of_autocast
from visionflow.core.evidence import Attention, Evidence, Features, Shown, When
from visionflow.core.feature_scores import RowWeights
from visionflow.core.layer import LayerAttention
from visionflow.core.plan import Cut, Plan
from visionflow.core.selection import Chosen, best
from visionflow.core.tokens import Tokens
from visionflow.core.trace import Stage, Trace
from visionflow.core.work import Compared


@dataclass(frozen=True)
class Decided:
    """What is to go before a layer."""

    chosen: Chosen
    counts: tuple[int, ...]


class Cutter:
    """Sees tokens and evidence, and says what stays; it touches no tensor of the model.

    Attributes:
        trace: what was done, of this pass alone: others may run at the same time.
    """

    def __init__(self, plan: Plan, tokens: Tokens, trace: Trace, depth: int) -> None:
        self.trace = trace
        self._cuts = {cut.layer: cut for cut in plan.cuts}
        self._given = tokens
        self._shown: dict[int, Shown] = {}
        self._weights: dict[RowWeights, Tensor] = {}
        self._first = plan.adaptive.first if plan.adaptive else 0
        self._decider = plan.adaptive.start(tokens) if plan.adaptive else None
        self._decided: dict[int, Decided] = {}
        self._depth = depth
        trace.note_given(tokens)
        if self._decider is not None:
            trace.decisions.append(self._decider)

    def cut(self, layer: int, tokens: Tokens) -> Cut | None:
        """The cut before `layer`, where it drops something of these tokens."""
        cut = self._cuts.get(layer)
        return cut if cut is not None and cutting.drops(cut, tokens) else None

    @torch.no_grad()
    def at(self, layer: int, tokens: Tokens) -> Decided | None:
        """What stays before `layer`; None for all."""
        decided, cut = self._decided.pop(layer, None), self.cut(layer, tokens)
        if cut is None:
            return decided
        device = tokens.columns.device
        shown = self._shown.pop(layer, None)
        counts = list(zip(tokens.image.counts, tokens.instruction.counts, strict=True))
        together = cut.compared(max(tokens.image.counts), max(tokens.instruction.counts))
        self.trace.note_compared(together, [cut.compared(*each).pairs for each in counts])
        with out_of_autocast(device):
            return Decided(*cutting.choose(cut, tokens, shown and shown.to(device)))

    def note(self, layer: int, tokens: Tokens, decided: Decided | None, present: Tokens) -> None:
        """Tell the trace what `layer` is about to see, `present` before a cut and `tokens` after it."""
        if decided is not None or layer in self._cuts:
            into = None if decided is None else decided.chosen.into
            joined = None if into is None else (present, into)
            self.trace.stages.append(Stage(layer, tokens, self._given, joined))
        self.trace.count(layer, tokens)

    # -- evidence -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def features(self, cut: Cut, evidence: Features, features: Tensor, tokens: Tokens) -> None:
        """Take the features that `cut` asked for, ``[batch, tokens, width]``."""
        with out_of_autocast(features.device):
            shown = evidence.show(features, tokens.to(features.device))
        self.shown(cut, evidence, shown)

    def shown(self, cut: Cut, part: Evidence, shown: Shown) -> None:
        """Take what is shown of a part of the evidence that `cut` asked for."""
        before = self._shown.get(cut.layer)
        self._shown[cut.layer] = cut.evidence.joined(before, part, shown)

    def asked(self, layer: int, when: When, tokens: Tokens) -> tuple[Cut | None, list[Evidence]]:
        """The cut that looks at the queries or keys of `layer`, which runs now ("ran") or is about to ("entry")."""
        cut = self.cut(layer + (when == "ran"), tokens)
        return cut, [] if cut is None else cut.read_of(layer, when)

    @torch.no_grad()
    def attention(self, cut: Cut, evidence: Attention, rows: AttentionRows) -> None:
        """Take what `cut` asked for from the rows of its group, all keys at hand."""
        group = rows.tokens.group(evidence.rows)
        with out_of_autocast(rows.query.device):
            self.shown(cut, evidence, cutting.probe(rows, evidence))
        counts = zip(rows.tokens.image.counts, group.counts, strict=True)
        alone = (cutting.cuts_sample(cut, n) * count for n, count in counts)
        self.trace.note_probe(cut.probe(max(group.counts), rows.tokens.columns.shape[1]), tuple(alone))

    @torch.no_grad()
    def weights(self, cut: Cut, weigh: RowWeights, inputs: Tensor) -> Tensor:
        """How much each row counts, ``[batch, given]`` in fp32; found once, where it is first asked for.

        Args:
            cut: who asks.
            weigh: finds it.
            inputs: the states that entered layer 0, ``[batch, given, width]``.
        """
        if weigh not in self._weights:
            tokens = self._given
            with out_of_autocast(inputs.device):
                self._weights[weigh] = weigh(exact(inputs), tokens.to(inputs.device)).float()
            counts = list(zip(tokens.image.counts, tokens.instruction.counts, strict=True))
            alone = [weigh.pairs(*each) * cutting.cuts_sample(cut, each[0]) for each in counts]
            together = weigh.pairs(max(tokens.image.counts), max(tokens.instruction.counts))
            self.trace.note_compared(Compared(cut.layer, together), alone)
        return self._weights[weigh]

    # -- cuts that depend on what the layers show ---------------------------------------------------------------------

    def decides_on(self, layer: int) -> bool:
        """Whether the decider of this prompt is to see `layer`."""
        return self._decider is not None and not self._decider.done and self._first <= layer < self._depth - 1

    @torch.no_grad()
    def decide(self, attention: LayerAttention) -> None:
        """Let the decider of this prompt look at a layer that has just run."""
        assert self._decider is not None
        with out_of_autocast(attention.query.device):
            decision = self._decider.decide(attention)
        for probe, rows in decision.probes:
            self.trace.note_probe(probe, rows)
        if decision.counts != attention.tokens.image.counts:
            assert decision.scores is not None
            keep = best(decision.scores, attention.tokens.image, decision.counts)
            self._decided[attention.layer + 1] = Decided(Chosen(keep), decision.counts)
