"""Judge out-of-fold predictions: figures, evidence, gates, verdict. Opens no file and starts no process.

``metrics`` agreement of two vectors; ``out_of_fold`` complete predictions and their agreement by member; ``accuracy``
how large the errors are, and where; ``intervals`` how much the figures depend on the clips; ``baselines`` comparison
with other models; ``calibration`` intervals around a single score; ``near_duplicates`` sources that show the same
content; ``coverage`` what the corpus covers; ``evidence`` all of these in one object; ``gate`` the conditions of a
verdict; ``judge`` the verdict; ``seed_report`` the reports of a training. docs/statistics.md has every figure.
"""
