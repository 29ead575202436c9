"""fetch: the source that params.yaml names -> data/raw."""

import own_python  # noqa: F401

if __name__ == "__main__":
    # Processes that read files load this file as well, and need nothing of it.
    from reconv.data.sources import fetch
    from reconv.places import RAW
    from reconv.stage import stage

    with stage("fetch") as this:
        fetched = fetch(
            this.params.data.source, this.params.data.group, RAW, this.console.say, columns=this.params.data.columns
        )
        this.run.log_params({"source": fetched.source, "digest": fetched.digest})
