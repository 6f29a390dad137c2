"""Which extension a trained model should use: a sweep made for the question, and the answer."""
