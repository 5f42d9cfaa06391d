"""How long answers took lately: percentiles over the last seconds of a run, sample by sample.

One sample may hold a single answer, whose percentiles would be all the same; and samples' histograms merge.
"""

from __future__ import annotations

from collections import deque

from batchdeck.metrics.histogram import Histogram
from batchdeck.model import Percentiles, Sample

SECONDS = 10.0
"""As rates are taken over."""


class Recent:
    """Fed with every sample in order of time."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._samples: deque[Sample] = deque()
        self._ttft, self._e2e = Histogram(), Histogram()
        self._all_ttft, self._all_e2e = Histogram(), Histogram()

    def add(self, sample: Sample) -> tuple[Percentiles | None, Percentiles | None]:
        """TTFT and E2E of the answers that were committed in the last seconds up to this sample; None: there were
        none."""
        self._samples.append(sample)
        self._ttft.fill(sample.ttft)
        self._e2e.fill(sample.e2e)
        self._all_ttft.fill(sample.ttft)
        self._all_e2e.fill(sample.e2e)
        while self._samples[0].t <= sample.t - self._seconds:
            old = self._samples.popleft()
            self._ttft.take_out(old.ttft)
            self._e2e.take_out(old.e2e)
        return self._ttft.percentiles(), self._e2e.percentiles()

    @property
    def overall(self) -> tuple[Percentiles | None, Percentiles | None]:
        """TTFT and E2E of all answers so far."""
        return self._all_ttft.percentiles(), self._all_e2e.percentiles()
