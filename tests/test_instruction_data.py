"""The module beside the notebook on fine-tuning: topics, passages, the judge, writing."""

import pytest
import torch

from text_generation.fine_tuning.instruction_data import (
    END,
    PAD,
    SPECIAL,
    TASKS,
    Judge,
    Task,
    labelled_passages,
    padded,
    passages,
    write,
)
from text_generation.language_model import GPT
from text_generation.movie_reviews import train_tokenizer

TASK = Task(
    ["bad", "good"], {"food": "soup bread", "music": "song"}, ["a {kind} {topic}"], ["", ""]
)


def test_the_first_keyword_names_the_topic():
    assert TASK.topic_of("A Song about soup.") == "music"
    assert TASK.topic_of("soup, and a song") == "food"
    assert TASK.topic_of("songs and soups") is None, "whole words count"


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_has_three_wordings_to_train_on_and_one_more(task):
    assert len(task.wordings) == 4
    texts = [wording.format(kind="KIND", topic="TOPIC") for wording in task.wordings]
    assert all("KIND" in text and "TOPIC" in text for text in texts)
    keywords = " ".join(task.topics.values()).split()
    assert len(set(keywords)) == len(keywords), "no keyword belongs to two topics"


def test_passages_are_whole_sentences_from_the_end():
    text = "One two. Three four! Five six? Seven."
    assert passages(text, 19, 9) == ["Five six? Seven.", "Three four!", "One two."]
    assert passages(text, 19, 1) == ["Five six? Seven."]
    assert passages("abcdefgh. xy.", 5, 9) == ["xy.", "abcde"], "a long sentence is cut"
    pairs = labelled_passages([text, "Short."], torch.tensor([1, 0]), 19, 2)
    assert pairs == [("Five six? Seven.", 1), ("Three four!", 1), ("Short.", 0)]


def test_padded_cuts_and_fills():
    tokenizer = train_tokenizer(["good soup"], 270, SPECIAL)
    rows = padded(tokenizer, ["[USER][END]", "[END][END][END][END]"], 3)
    assert rows.tolist() == [[1, END, PAD], [END] * 3]


def test_the_judge_says_which_class_and_which_topic():
    texts, labels = (
        ["a good soup", "fine good bread", "a bad soup", "poor bad bread"] * 5,
        [1, 1, 0, 0],
    )
    judge = Judge(TASK, texts, labels * 5)
    groups = {(1, "food"): ["good soup", "bad soup"], (0, "music"): ["bad bread", "bad song"]}
    assert judge(groups) == (75, 75)


def test_write_continues_each_prompt_until_its_end():
    tokenizer = train_tokenizer(["a good soup and a bad song"] * 3, 270, SPECIAL)
    torch.manual_seed(0)
    model = GPT(tokenizer.get_vocab_size(), 16, 1, 2)
    prompts = {"long": "a good soup", "short": "a"}
    texts = write(model, tokenizer, prompts, 3, 5, 1.0, seed=0)
    assert list(texts) == ["long", "short"] and all(len(found) == 3 for found in texts.values())
    assert texts == write(model, tokenizer, prompts, 3, 5, 1.0, seed=0)
    assert texts["long"] != write(model, tokenizer, prompts, 3, 5, 1.0, seed=1)["long"]
    with torch.no_grad():
        model.tokens.weight.zero_()[END] = 5.0  # all logits but that of END are zero or below
    texts = write(model, tokenizer, {"x": "[END]"}, 2, 5, 0.0, seed=0)
    assert texts == {"x": ["", ""]}
