"""prepare: data/raw -> packed arrays, a fixed split and a report on the images in data/prepared."""

import own_python  # noqa: F401

if __name__ == "__main__":
    # Every decoding process reads this file as well, and needs nothing of it: half a second each.
    from reconv.cluster_decoding import decoder
    from reconv.data.gate import in_words
    from reconv.data.packing import prepare
    from reconv.places import PREPARED, RAW, STATE
    from reconv.stage import stage
    from reconv.tracking.outcomes import log_prepared

    with stage("prepare") as this:
        manifest, report = prepare(
            this.params.data, RAW, PREPARED, STATE / "decoded",
            lambda done, total: this.console.status(f"{done:,} of {total:,} images decoded"),
            decoder(this.params.resources),
        )  # fmt: skip
        for finding in report.findings:
            this.console.say(in_words(finding))
        log_prepared(this.run, manifest, report, PREPARED / "data_report.json")
        counts = " · ".join(f"{count:,} {split}" for split, count in manifest.counts.items())
        shape = "x".join(map(str, manifest.image_shape))
        this.console.say(f"{counts} · {shape} · {manifest.num_classes} classes")
