"""fetch: the source that params.yaml names -> data/raw."""

from reconv.data.sources import fetch
from reconv.places import RAW
from reconv.stage import stage

if __name__ == "__main__":
    with stage("fetch") as this:
        fetched = fetch(this.params.data.source, this.params.data.group, RAW, this.console.say)
        this.run.log_params({"source": fetched.source, "digest": fetched.digest})
