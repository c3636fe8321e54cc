"""Team: who has done what, how far people agree, what is to be settled, who leads."""

from __future__ import annotations

import streamlit as st

from relabel.db.team.opinions import list_pairs
from relabel.db.team.reviewers import may_lead
from relabel.team.agreement import measure_agreement
from relabel.team.people import measure_people
from ui.session import current_reviewer, get_engine, require_project
from ui.team.figures import draw_agreement, draw_people
from ui.team.roles import describe_trust, draw_fault, draw_roles, draw_share
from ui.team.settling import draw_disagreements

project = require_project()
st.title("Team", anchor=False)
st.caption(describe_trust())
draw_fault()
is_lead = may_lead(get_engine(), current_reviewer())
pairs = list_pairs(get_engine(), project.id)
st.header("People", anchor=False)
draw_people(measure_people(get_engine(), project.id, pairs))
st.header("Second opinions", anchor=False)
draw_share(project, may_lead=is_lead)
draw_agreement(measure_agreement(project, pairs))
st.header("To settle", anchor=False)
draw_disagreements(project, pairs, may_settle=is_lead)
st.header("Roles", anchor=False)
draw_roles(may_lead=is_lead)
