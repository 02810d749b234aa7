"""Tables in Markdown."""

from deepspeech2.system.markdown import markdown_table


def test_names_are_to_the_left_and_figures_to_the_right():
    assert markdown_table(["split", "clips"], [["dev", 3], ["test", "1,024"]]) == (
        "| split | clips |\n| --- | ---: |\n| dev | 3 |\n| test | 1,024 |\n"
    )
    assert markdown_table(["stage", "split", "WER"], [], left=2) == "| stage | split | WER |\n| --- | --- | ---: |\n"
