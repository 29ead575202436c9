"""prepare: data/raw -> packed arrays, a fixed split and a report on the images in data/prepared."""

from reconv.data.packing import prepare
from reconv.places import PREPARED, RAW
from reconv.stage import stage
from reconv.tracking.outcomes import log_prepared

if __name__ == "__main__":
    with stage("prepare") as this:
        manifest, report = prepare(this.params.data, RAW, PREPARED)
        log_prepared(this.run, manifest, report, PREPARED / "data_report.json")
        counts = " · ".join(f"{count:,} {split}" for split, count in manifest.counts.items())
        shape = "x".join(map(str, manifest.image_shape))
        duplicates = sum(report.duplicates_across.values())
        this.console.say(f"{counts} · {shape} · {manifest.num_classes} classes · {duplicates} duplicates across splits")
