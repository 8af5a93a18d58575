"""Tests that click."""
