"""Work in processes of its own: started, watched, cancelled; and the demos and the doctor.

Nothing here imports torch before work that needs it begins.
"""
