"""Scores by class and the confusion matrix, for the loggers."""

import lightning as L

from contextseg import viz
from contextseg.engine.callbacks.loggers import send_pictures, send_table, take_pictures


class Tables(L.Callback):
    """Send IoU and accuracy of each class, and the confusion matrix, after each evaluation, on rank 0.

    `val/per_class`: a row for each class, in percent. `val/confusion`: a row for each pair of classes that occurs, with
    the columns of W&B's chart of a confusion matrix; `val/confusion_picture`: the same as a picture.
    """

    def on_validation_end(self, trainer, module):
        if not trainer.is_global_zero or not take_pictures(trainer):
            return
        names, scores = module.segmenter.classes.names, module.scores
        by_class = zip(names, scores["iou"].tolist(), scores["acc"].tolist(), strict=True)
        send_table(trainer, "val/per_class", ("class", "iou", "acc"), list(by_class))
        confusion = scores["confusion"]
        pairs = [
            (names[truth], names[said], int(confusion[truth, said])) for truth, said in confusion.nonzero().tolist()
        ]
        send_table(trainer, "val/confusion", ("Actual", "Predicted", "nPredictions"), pairs)
        picture = viz.rendered(viz.confusion_figure(confusion, module.segmenter.classes))
        send_pictures(trainer, "val/confusion_picture", [picture], ["of the true pixels, in percent"])
