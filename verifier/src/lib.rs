//! The pipeline from a question to a verdict: choose the rule, gather evidence, evaluate.
