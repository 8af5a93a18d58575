"""Rules of the graph with a language model on vLLM; they need an environment of their own: `make test-vllm`."""
