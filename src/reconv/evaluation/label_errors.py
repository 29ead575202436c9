"""Images whose label is probably wrong, by what classifiers say that were not trained on them.

N images, K classes, S seeds.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from reconv.evaluation.metrics import Labels, Logits


def label_errors(scaled_SNK: Sequence[Logits], labels_N: Labels, class_names: tuple[str, ...]) -> pd.DataFrame:
    """A row per suspect: position, label, suggested, confidence (of the suggested class) and of_label (of the label's
    own), mean over seeds; the least credible label first. `scaled_SNK` are calibrated logits.

    Northcutt et al., "Confident learning" (2021): an image is suspect that is at least as probable of another class as
    images of that class are on average. It has to be more probable than not as well, so that classifiers that know
    nothing accuse nobody.
    """
    from cleanlab.filter import find_label_issues  # scikit-learn: two seconds

    probabilities_NK = np.mean([softmax(logits_NK.astype(np.float64), axis=1) for logits_NK in scaled_SNK], axis=0)
    suspects = find_label_issues(
        labels_N,
        probabilities_NK,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    suspects = suspects[probabilities_NK[suspects].max(axis=1) > 0.5]
    names = np.array(class_names)
    return pd.DataFrame(
        {
            "position": suspects,
            "label": names[labels_N[suspects]],
            "suggested": names[probabilities_NK[suspects].argmax(axis=1)],
            "confidence": probabilities_NK[suspects].max(axis=1),
            "of_label": probabilities_NK[suspects, labels_N[suspects]],
        }
    )
