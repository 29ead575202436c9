"""What the machine does while a stage runs: processor, memory, disk, network and GPUs, every few seconds."""

import threading
from contextlib import suppress
from typing import Any

from reconv.tracking.record import StageRun

_SECONDS = 5


class MachineMetrics:
    """Logs MLflow's own system metrics through the journal: MLflow's monitor asks the server at each sample, ends when
    it does not answer, and is waited for."""

    def __init__(self, run: StageRun) -> None:
        self._run = run
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="machine", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        monitors = _monitors()
        step = self._run.next_machine_step
        while not self._over.wait(_SECONDS):
            metrics: dict[str, float] = {}
            for monitor in monitors:
                with suppress(Exception):  # whatever a driver raises
                    monitor.collect_metrics()
                    metrics |= monitor.aggregate_metrics()
                    monitor.clear_metrics()
            self._run.log_metrics({f"system/{name}": value for name, value in metrics.items()}, step)
            step += 1


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(Exception):  # there is none
        monitors.append(GPUMonitor())
    return monitors
