"""From passages to an answer whose every sentence is cited, or to a refusal.

Works with `search` for passages, and with a language model where one is configured.
"""
