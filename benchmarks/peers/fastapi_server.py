"""`python -m benchmarks.peers.fastapi_server BUNDLE PORT`: what one would write oneself to serve a classifier."""

import sys
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from reconv.models.classifier import load_classifier

app = FastAPI()
classifier = load_classifier(Path(sys.argv[1]))
names = classifier.arguments["class_names"]


class Request(BaseModel):
    inputs: list[list[list[list[int]]]]


@app.get("/health")
def health() -> str:
    return "ok"


@app.post("/invocations")
def invocations(request: Request) -> dict[str, Any]:
    images = torch.tensor(request.inputs, dtype=torch.uint8)
    with torch.inference_mode():
        probabilities = classifier(images).softmax(dim=1)
    confidence, best = probabilities.max(dim=1)
    return {
        "predictions": [
            {"class": names[k], "confidence": c, "probabilities": dict(zip(names, row, strict=True))}
            for k, c, row in zip(best.tolist(), confidence.tolist(), probabilities.tolist(), strict=True)
        ]
    }


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
