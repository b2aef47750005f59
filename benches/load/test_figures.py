"""`python3 -m unittest` in this folder."""

import unittest
import xml.dom.minidom

import keys
import stats
import svg


class Figures(unittest.TestCase):
    def test_the_median_of_an_even_number_lies_between_the_two_in_the_middle(self):
        self.assertEqual(stats.median([4, 1, 3, 2]), 2.5)
        self.assertEqual(stats.median([3, 1, 2]), 2)
        self.assertIsNone(stats.median([]))

    def test_a_percentile_is_one_of_the_values(self):
        values = list(range(1, 101))
        self.assertEqual([stats.percentile(values, share) for share in (0.5, 0.99, 0.999, 1)], [50, 99, 100, 100])

    def test_a_ratio_compares_within_rounds_so_that_a_slow_round_does_not_count(self):
        ours = [{"cpu": 10}, {"cpu": 30}, {"cpu": 11}]
        base = [{"cpu": 20}, {"cpu": 60}, {"cpu": 20}]
        self.assertEqual(stats.ratio(ours, base, "cpu"), 0.5)

    def test_what_is_not_above_nothing_is_no_base_of_a_ratio(self):
        self.assertEqual(stats.ratio([{"p": 3}, {"p": 4}, {"p": 5}], [{"p": 2}, {"p": 0}, {"p": -5}], "p"), 1.5)
        self.assertIsNone(stats.ratio([{"p": 3}], [{"p": -1}], "p"))

    def test_medians_leave_out_what_is_no_number(self):
        self.assertEqual(stats.medians([{"a": 1, "b": "x"}, {"a": 3, "b": "y"}]), {"a": 2})

    def test_the_slope_is_that_of_the_line_through_the_points(self):
        self.assertAlmostEqual(stats.slope([(0, 5), (10, 25), (20, 45)]), 2)
        self.assertIsNone(stats.slope([(1, 1)]))


class Plots(unittest.TestCase):
    def test_ticks_begin_at_nothing_and_reach_the_top(self):
        for top in (0.003, 1, 7, 99, 101, 123456):
            marks = svg.ticks(top)
            self.assertEqual(marks[0], 0)
            self.assertGreaterEqual(marks[-1], top)
            self.assertLessEqual(len(marks), 7)

    def test_powers_of_ten_enclose_both_ends(self):
        self.assertEqual(svg.log_ticks(30, 2000), [10, 100, 1000, 10000])
        self.assertEqual(svg.log_ticks(10, 10), [10, 100])

    def test_plots_are_well_formed_whatever_the_names(self):
        bars = svg.bars("A <title> & \"more\"", "us", [("a & b", {"x": 1.5, "y": None}), ("c", {"x": 0, "y": 2000})], ["x", "y"], "n")
        for text in (bars, svg.lines("t", "x", "y", [("<s>", [(1, 10), (2, 1000)])], logarithmic=True, log_across=True, dots=True)):
            xml.dom.minidom.parseString(text)
        # The ground, two names and three values.
        self.assertEqual(bars.count("<rect"), 1 + 2 + 3)

    def test_a_legend_that_is_too_long_goes_on_in_the_next_row(self):
        rows = [row for _, row, _ in svg.legend_rows(["a" * 40, "b" * 40, "c" * 40, "d"], 860)]
        self.assertEqual(rows, [0, 0, 1, 1])

    def test_marks_of_an_axis_are_short(self):
        self.assertEqual([svg.mark_of(value) for value in (0, 0.5, 1.0, 250.0, 10000.0, 2e6)], ["0", "0.5", "1", "250", "10,000", "2 M"])

    def test_numbers_have_about_three_digits(self):
        self.assertEqual([svg.number(value) for value in (0, 0.01234, 3.14159, 31.4159, 314.159, 31415.9, 2.5e6)],
                         ["0", "0.0123", "3.14", "31.4", "314", "31,416", "2.5 M"])


class Keys(unittest.TestCase):
    def test_a_signature_raised_to_the_public_exponent_gives_back_its_padded_digest(self):
        # Two primes of 512 bits are enough for the arithmetic.
        p = 2**521 - 1
        q = 2**607 - 1
        key = keys.Key(n=p * q, e=65537, d=pow(65537, -1, (p - 1) * (q - 1)), p=p, q=q)
        signature = int.from_bytes(key.sign(b"text"), "big")
        self.assertEqual(pow(signature, key.e, key.n), keys.padded_digest(b"text", key.size))


if __name__ == "__main__":
    unittest.main()
