"""Where transformers reads a sequence classifier's score: at the last token that is not its padding id.
The values of RewardModel.ASequenceClassifierIsReadBeforeItsPadding.

    python tests/reference/padded_scores.py
"""
import torch
from transformers import AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained("tests/golden/models/sequence_classification", dtype=torch.float32)
for pad in (0, 2, None):
    model.config.pad_token_id = pad
    for ids in ([5, 9, 17, 2], [5, 9, 17], [5, 9, 2, 17, 2, 2], [5, 9, 0, 17, 0], [5, 2, 2]):
        with torch.no_grad():
            print(pad, ids, "%.6f" % model(torch.tensor([ids])).logits.item())
