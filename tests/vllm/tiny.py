"""A language model small enough to be trained in a few minutes on two cores, which words the repairs it has seen.

It learns, by heart, the prompts that the assistant makes of the built-in articles and what there is to quote from them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pipelines.knowledge.answer.answer import extract
from pipelines.knowledge.answer.faults import faults, put
from pipelines.knowledge.answer.llm import Prompt, messages
from pipelines.knowledge.ingest.ingest import articles, ingest
from pipelines.knowledge.records import Language, Question
from pipelines.knowledge.search.encoder import Encoder
from pipelines.knowledge.search.index import BUILT_IN, Index
from pipelines.machines.family import read_family

END, BEGIN, PAD = "<end>", "<begin>", "<pad>"
TEMPLATE = "{{ '<begin>' }}{% for m in messages %}{{ m['content'] }}{{ '<begin>' }}{% endfor %}"
VOCABULARY, WIDTH, LAYERS, LONGEST = 2_000, 256, 4, 2_048
EPOCHS, ENOUGH = 150, 0.01  # of the mean loss of a token of an answer
# How often the long answer says its sentence: a reader has the time to leave before its end.
LONG = 25
LONG_QUESTION = "How to take an oil sample?"

Lesson = tuple[Prompt, str]


def lessons(folder: Path) -> list[Lesson]:
    """Return, for every fault of `generic` in both languages, the prompt of its repair and what to answer."""
    encoder = Encoder.load("", "cpu")
    index = Index.open(folder, multilingual=False)
    ingest(articles(), index, encoder, BUILT_IN)
    languages: tuple[Language, ...] = ("en", "ru")
    asked: list[tuple[str, Language]] = [(LONG_QUESTION, "en")]
    for component in read_family("generic").components.values():
        grades = [grade for grade in map(str, component.faulty) if grade in faults()]
        for kind in dict.fromkeys([component.kind, *component.kinds.values(), *grades]):
            for language in languages:
                asked.append((put(faults()[kind][language], component.title[language], language), language))
    found = []
    for text, language in asked:
        question = Question(text, language, 1, encoder.encode([text])[0].astype("float64"))
        hits = index.search(BUILT_IN, question)
        answer = extract(question, hits)
        quotes = [f"{' '.join(c.quote.split()).rstrip('.!?;')} [1]." for c in answer.citations]
        if quotes:
            said = " ".join(quotes[:1] * LONG if text == LONG_QUESTION else quotes)
            found.append((messages(question, answer.hits), said))
    return found


def train(taught: Sequence[Lesson], folder: Path) -> float:
    """Train a model until it knows its lessons, save it in the form that vLLM reads, and return the last loss."""
    torch.manual_seed(0)
    tokenizer = tokenizer_of(taught)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LONGEST,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    examples = [_example(tokenizer, *lesson) for lesson in taught]
    steps = EPOCHS * len(examples)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.05)
    loss = 0.0
    for _ in range(EPOCHS):
        losses = []
        for place in torch.randperm(len(examples)).tolist():
            tokens, labels = examples[place]
            out = model(input_ids=tokens, labels=labels)
            out.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            losses.append(float(out.loss))
        loss = max(losses)
        if loss < ENOUGH:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss


def tokenizer_of(taught: Sequence[Lesson]) -> Any:
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[PAD, BEGIN, END], initial_alphabet=alphabet)
    plain.train_from_iterator(
        [*(m["content"] for prompt, _ in taught for m in prompt), *(a for _, a in taught)], trainer
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token=BEGIN, eos_token=END, pad_token=PAD)
    wrapped.chat_template = TEMPLATE
    return wrapped


def _example(tokenizer: Any, prompt: Prompt, said: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of a prompt with its answer, and which of them are to be learned."""
    head = tokenizer.encode(tokenizer.apply_chat_template(prompt, tokenize=False), add_special_tokens=False)
    tail = [*tokenizer.encode(said, add_special_tokens=False), tokenizer.eos_token_id]
    labels = [*[-100] * len(head), *tail]
    return torch.tensor([[*head, *tail]]), torch.tensor([labels])
