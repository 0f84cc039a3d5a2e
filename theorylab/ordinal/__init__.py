"""Ordered outcomes with a rare class: proportional odds, and PRESTO, which shrinks towards it.

An outcome such as *no click < click < purchase* has few events in its last
class. A logistic regression on that class alone wastes the others; the
proportional-odds model borrows their strength but forces one slope vector.
PRESTO fits a slope vector per boundary and penalises their differences, so it
moves between both. Every fit carries a certificate: the largest violation of
the optimality conditions and a duality gap.

The model is ``logit P(y <= k | x) = alpha_k + x' beta_k``: a positive slope
makes **lower** classes more likely.

====================================  ============================================
`PrestoClassifier`                    one penalty
`PrestoClassifierCV`                  the penalty by cross-validation
`ProportionalOddsClassifier`          equal slopes, standard errors
`presto_path`                         the whole path, certified
`presto_dual_gap`                     certificate of any coefficients
`rare_event_variance`                 how many events would I need?
`po_fisher_information`               expected information
`rare_class_scores`                   scores for a rare class
`calibration_error`                   equal-frequency calibration
`ordinal_loss_grad_hess`              the loss of a row and its derivatives
`ordinal_gram`                        the Hessian of the mean loss
====================================  ============================================

All of it runs on the CPU in float64, on dense arrays, SciPy CSR and CSC
arrays and data frames. Text labels need an order: pass ``class_order`` or a
pandas ordered Categorical. Categorical features are encoded outside, for
example by scikit-learn's `ColumnTransformer`.

Examples
--------
>>> from theorylab.ordinal import PrestoClassifierCV
>>> from theorylab.ordinal.datasets import load_diabetes_severity
>>> X, y = load_diabetes_severity()
>>> model = PrestoClassifierCV(cv=3, random_state=0).fit(X, y)
>>> model.predict_proba(X).shape
(442, 4)
>>> bool(model.kkt_ < 1e-9 and model.dual_gap_ < 1e-9)
True
"""

from ._cv import PrestoClassifierCV
from ._estimators import PrestoClassifier
from ._gap import ordinal_gram, ordinal_loss_grad_hess, presto_dual_gap
from ._information import RareEventVariance, po_fisher_information, rare_event_variance
from ._metrics import RareClassScores, calibration_error, rare_class_scores
from ._presto import PrestoPath, presto_path
from ._proportional import ProportionalOddsClassifier, Summary

__all__ = [
    "PrestoClassifier",
    "PrestoClassifierCV",
    "PrestoPath",
    "ProportionalOddsClassifier",
    "RareClassScores",
    "RareEventVariance",
    "Summary",
    "calibration_error",
    "ordinal_gram",
    "ordinal_loss_grad_hess",
    "po_fisher_information",
    "presto_dual_gap",
    "presto_path",
    "rare_class_scores",
    "rare_event_variance",
]
